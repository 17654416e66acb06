// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/open_file.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace ks::engine {

namespace {

Result<Fd> fetch_from(int process, int fd) {
  Fd mine(static_cast<int>(::syscall(SYS_pidfd_getfd, process, fd, 0)));
  if (!mine) return fail_errno("pidfd_getfd");
  return mine;
}

}  // namespace

Result<Fd> fetch_descriptor(pid_t pid, int fd) {
  Fd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!process) return fail_errno("pidfd_open");
  return fetch_from(process.get(), fd);
}

Result<Fd> OpenFile::fetch() const { return fetch_from(process, fd); }

std::string OpenFile::magic_link() const { return fmt::format("/proc/{}/fd/{}", pid, fd); }

int OpenFile::flags() const { return info.flags & ~(O_CLOEXEC | O_ASYNC | O_CREAT | O_EXCL | O_TRUNC | O_NOCTTY); }

}  // namespace ks::engine
