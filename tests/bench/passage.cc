// SPDX-License-Identifier: LGPL-2.1-or-later
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>

#include "../roundtrip/family.h"
#include "../roundtrip/subject.h"
#include "base/file.h"
#include "machine.h"
#include "rows.h"

namespace ks::bench {

namespace {

double huge_part(pid_t pid) {
  auto memory = memory_of(pid);
  if (!memory || memory->anonymous == 0) return 0;
  return static_cast<double>(memory->huge) / static_cast<double>(memory->anonymous);
}

// Gone also when we leave early: an image of a gibibyte in memory would spoil what follows.
class Image {
 public:
  explicit Image(std::string path) : path_(std::move(path)) { (void)remove_tree(path_); }
  Image(const Image&) = delete;
  ~Image() { (void)remove_tree(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace

double Samples::median(const std::string& name) const {
  auto found = values_.find(name);
  if (found == values_.end()) return 0;
  std::vector<double> sorted = found->second;
  std::ranges::sort(sorted);
  size_t half = sorted.size() / 2;
  return sorted.size() % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

Result<Passage> pass(Contestant contestant, const std::string& what, uint64_t count, const std::string& directory,
                     uint64_t warm_bytes) {
  auto dump = contestant == Contestant::engine ? engine_dump : criu_dump;
  auto restore = contestant == Contestant::engine ? engine_restore : criu_restore;
  Passage passage;
  test::Workplace place;
  test::Subject subject(place, BENCH_WORKLOAD, {what, std::to_string(count)});
  if (auto trouble = subject.await_ready(); !trouble.empty()) return fail(what + ": " + trouble);
  pid_t pid = subject.pid();
  passage.huge_before = huge_part(pid);
  {
    Image image(fmt::format("{}/kernel-swap-bench-{}-look", directory, ::getpid()));
    warm_up(warm_bytes);
    passage.look = TRY(in("dump that leaves it running", dump(pid, image.path(), true)));
  }
  Image image(fmt::format("{}/kernel-swap-bench-{}", directory, ::getpid()));
  warm_up(warm_bytes);
  passage.dump = TRY(in("dump", dump(pid, image.path(), false)));
  test::kill_descendants();
  warm_up(warm_bytes);
  passage.restore = TRY(in("restore", restore(image.path())));
  passage.huge_after = huge_part(pid);
  if (::kill(pid, 0)) return fail(fmt::format("pid {} did not come back", pid));
  test::kill_descendants();
  return passage;
}

}  // namespace ks::bench
