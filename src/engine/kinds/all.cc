// SPDX-License-Identifier: LGPL-2.1-or-later
#include <array>

#include "engine/kinds/kind.h"

namespace ks::engine {

extern const Kind kRegular, kDevice, kPipe, kEventfd, kTimerfd, kSignalfd, kJournal, kEpoll;

std::span<const Kind* const> all_kinds() {
  // Explicit, because order matters and nothing may be dropped silently.
  static constexpr std::array kinds = {&kRegular, &kDevice,   &kPipe,    &kEventfd,
                                       &kTimerfd, &kSignalfd, &kJournal, &kEpoll};
  return kinds;
}

}  // namespace ks::engine
