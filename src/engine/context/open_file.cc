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

Result<SignalOwner> read_signal_owner(int fd) {
  constexpr int kGetOwnerUids = 17;  // F_GETOWNER_UIDS, with CONFIG_CHECKPOINT_RESTORE
  SignalOwner owner;
  uid_t users[2] = {};
  owner.signal = ::fcntl(fd, F_GETSIG);
  if (owner.signal < 0) return fail_errno("F_GETSIG");
  if (::fcntl(fd, F_GETOWN_EX, &owner.whom)) return fail_errno("F_GETOWN_EX");
  if (::fcntl(fd, kGetOwnerUids, users)) return fail_errno("F_GETOWNER_UIDS");
  owner.user = users[0];
  owner.effective_user = users[1];
  return owner;
}

Result<Fd> OpenFile::fetch() const { return fetch_from(process, fd); }

std::string OpenFile::magic_link() const { return fmt::format("/proc/{}/fd/{}", pid, fd); }

int OpenFile::flags() const { return info.flags & ~(O_CLOEXEC | O_ASYNC | O_CREAT | O_EXCL | O_TRUNC | O_NOCTTY); }

}  // namespace ks::engine
