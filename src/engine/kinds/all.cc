// SPDX-License-Identifier: LGPL-2.1-or-later
#include <array>

#include "engine/kinds/kind.h"

namespace ks::engine {

extern const Kind kKernelFile, kCarried, kRegular, kDevice, kTerminal, kOwnTerminal, kPipe, kEventfd, kTimerfd,
    kSignalfd, kJournal, kInotify, kPidFd, kEpoll, kLocks, kOwner;

std::span<const Kind* const> all_kinds() {
  // Explicit, because order matters and nothing may be dropped silently.
  static constexpr std::array kinds = {&kKernelFile, &kCarried, &kRegular, &kDevice, &kTerminal, &kOwnTerminal,
                                       &kPipe, &kEventfd, &kTimerfd, &kSignalfd, &kJournal, &kInotify, &kPidFd,
                                       &kEpoll,
                                       // of files of every kind; a lease makes an owner
                                       &kLocks, &kOwner};
  return kinds;
}

}  // namespace ks::engine
