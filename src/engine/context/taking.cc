// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/taking.h"

#include <sys/syscall.h>
#include <unistd.h>

namespace ks::engine {

Result<uint64_t> take_from_us(RestoredProcess& process, int fd) {
  uint64_t us = TRY(in("pidfd_open", process.leader()(SYS_pidfd_open, ::getpid(), 0)));
  auto taken = in("pidfd_getfd", process.leader()(SYS_pidfd_getfd, us, fd, 0));
  TRY(in("close", process.leader()(SYS_close, us)));
  return taken;
}

}  // namespace ks::engine
