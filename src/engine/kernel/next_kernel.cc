// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/next_kernel.h"

#include <sys/stat.h>

#include <mutex>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/file.h"
#include "engine/kernel/boot_image.h"
#include "engine/kernel/elf.h"
#include "engine/kernel/ring_layout.h"

namespace ks::engine {

namespace {

constexpr off_t kLargest = off_t{256} << 20;

Result<NextKernel::Facts> read_facts(int fd) {
  struct stat status{};
  if (::fstat(fd, &status)) return fail_errno("fstat");
  if (status.st_size > kLargest) return fail("too large for a kernel");
  std::vector<std::byte> file(static_cast<size_t>(status.st_size));
  TRY(read_exactly_at(fd, file, 0, "kernel"));
  BootImage image = TRY(parse_boot_image(file));
  auto kernel = TRY(unpack_kernel(image.packed));
  auto types = TRY(KernelTypes::parse(TRY(find_section(std::as_bytes(std::span(kernel)), ".BTF"))));
  auto rings = check_rings_under(image.release, types);
  return NextKernel::Facts{.release = image.release, .types = std::move(types), .rings = std::move(rings)};
}

}  // namespace

struct NextKernel::State {
  Fd file;
  std::string text;  // its name, or why nothing is known
  std::once_flag once{};
  std::optional<Result<Facts>> facts{};
};

NextKernel NextKernel::of_file(Fd file, std::string name) {
  return NextKernel(std::make_shared<State>(std::move(file), std::move(name)));
}

NextKernel NextKernel::unknown(std::string why) { return NextKernel(std::make_shared<State>(Fd(), std::move(why))); }

const Result<NextKernel::Facts>& NextKernel::facts() const {
  std::call_once(state_->once, [this] {
    state_->facts =
        state_->file ? in(state_->text, read_facts(state_->file.get())) : Result<Facts>(fail(state_->text));
  });
  return *state_->facts;
}

Result<> NextKernel::takes_rings() const {
  if (!facts()) return refuse("how the next kernel lays out rings is not known: " + facts().error().what);
  return facts()->rings;
}

}  // namespace ks::engine
