// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/pid_base.h"

#include <algorithm>
#include <bitset>

namespace ks::upgrade {

pid_t pid_base(std::span<const pid_t> dumped) {
  // Whole windows, so that the base follows from the dumped PIDs alone: the root file system is still
  // read-only when the generator runs, and a counter could not be moved.
  constexpr size_t kWindows = kPidMax / kPidWindow;
  std::bitset<kWindows> taken;
  taken.set(0);
  size_t highest = 0;
  for (pid_t pid : dumped) {
    if (pid < 0 || pid >= kPidMax) continue;
    size_t window = static_cast<size_t>(pid / kPidWindow);
    taken.set(window);
    highest = std::max(highest, window);
  }
  if (highest + 1 < kWindows) return static_cast<pid_t>(highest + 1) * kPidWindow;
  for (size_t window = 1; window < kWindows; ++window)
    if (!taken.test(window)) return static_cast<pid_t>(window) * kPidWindow;
  return 0;
}

}  // namespace ks::upgrade
