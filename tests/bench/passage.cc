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

double Samples::median(const std::string& name) const {
  auto found = values_.find(name);
  if (found == values_.end()) return 0;
  std::vector<double> sorted = found->second;
  std::ranges::sort(sorted);
  size_t half = sorted.size() / 2;
  return sorted.size() % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

Image::Image(const std::string& directory) : path_(fmt::format("{}/kernel-swap-bench-{}", directory, ::getpid())) {
  (void)remove_tree(path_);
}
Image::~Image() {
  (void)remove_tree(path_);
  ::unlink((path_ + ".held").c_str());
}

Result<Feat> dump(Contestant contestant, pid_t root, const std::string& image, bool leave_running) {
  return contestant == Contestant::engine ? engine_dump(root, image, leave_running)
                                          : criu_dump(root, image, leave_running);
}

Result<Feat> restore(Contestant contestant, const std::string& image) {
  return contestant == Contestant::engine ? engine_restore(image) : criu_restore(image);
}

Result<Passage> pass(Contestant contestant, const std::string& what, uint64_t count, const std::string& directory) {
  constexpr uint64_t kWarmBytes = 64 * kMebibyte;
  Passage passage;
  test::Workplace place;
  test::Subject subject(place, BENCH_WORKLOAD, {what, std::to_string(count)});
  if (auto trouble = subject.await_ready(); !trouble.empty()) return fail(what + ": " + trouble);
  pid_t pid = subject.pid();
  Image image(directory);
  warm_up(kWarmBytes);
  passage.dump = TRY(in("dump", dump(contestant, pid, image.path(), false)));
  test::kill_descendants();
  warm_up(kWarmBytes);
  passage.restore = TRY(in("restore", restore(contestant, image.path())));
  if (::kill(pid, 0)) return fail(fmt::format("pid {} did not come back", pid));
  test::kill_descendants();
  return passage;
}

}  // namespace ks::bench
