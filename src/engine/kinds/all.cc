// SPDX-License-Identifier: LGPL-2.1-or-later
#include <array>

#include "engine/kinds/kind.h"

namespace ks::engine {

extern const Kind kMessageQueue, kKernelFile, kCarried, kRegular, kDevice, kTerminal, kOwnTerminal, kPipe, kEventfd,
    kTimerfd, kSignalfd, kJournal, kInetSocket, kNetlinkSocket, kPacketSocket, kVsockSocket, kUnixSocket, kFanotify,
    kInotify, kNamespaceFile, kPidFd, kIoUring, kEpoll, kLocks, kOwner;

Result<bool> is_done(Dumping& dumping, const OpenFile& file, Result<> dumped) {
  if (!dumped && dumped.error().refusal) {
    dumping.refuse(file.pid, file.object(), dumped.error().what);
    return false;
  }
  TRY(in(file.object(), std::move(dumped)));
  return true;
}

Result<> dump_each(Dumping& dumping, std::span<const OpenFile> files,
                   Result<> (*dump_one)(Dumping&, const OpenFile&)) {
  for (const OpenFile& file : files) TRY(is_done(dumping, file, dump_one(dumping, file)));
  return {};
}

std::span<const Kind* const> all_kinds() {
  // Explicit, because order matters and nothing may be dropped silently.
  static constexpr std::array kinds = {// before the engine opens any file, which its groups may be told of
                                       &kFanotify, &kMessageQueue, &kKernelFile, &kCarried, &kRegular, &kDevice,
                                       &kTerminal, &kOwnTerminal, &kPipe, &kTimerfd, &kSignalfd, &kJournal,
                                       &kInetSocket, &kNetlinkSocket, &kPacketSocket, &kVsockSocket, &kUnixSocket,
                                       &kInotify, &kNamespaceFile, &kPidFd, &kIoUring, &kEpoll, &kEventfd,
                                       // of files of every kind; a lease makes an owner
                                       &kLocks, &kOwner};
  return kinds;
}

}  // namespace ks::engine
