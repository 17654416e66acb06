// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kinds/unix_socket/ended.h"

#include <fmt/format.h>
#include <linux/sched.h>
#include <linux/securebits.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "engine/target/reserved_ids.h"

namespace ks::engine::unix_socket {

namespace {

// Of the calling thread alone. It keeps its privileges.
bool become(const image::UnixSocket::Credentials& who, const std::vector<gid_t>& groups) {
  return ::prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP) == 0 &&
         ::syscall(SYS_setgroups, groups.size(), groups.data()) == 0 &&
         ::syscall(SYS_setresgid, -1, who.group(), -1) == 0 && ::syscall(SYS_setresuid, -1, who.user(), -1) == 0;
}

}  // namespace

Result<> as_ended(const image::UnixSocket::Credentials& who, const std::function<bool()>& call) {
  std::vector<gid_t> groups(who.groups().begin(), who.groups().end());
  if (who.pid() == 0) {
    int error = 0;
    std::thread([&] { error = become(who, groups) && call() ? 0 : errno; }).join();
    return error ? fail_errno(fmt::format("as user {}", who.user()), error) : Result<>();
  }
  pid_t pid = who.pid();
  clone_args arguments{
      .flags = CLONE_FILES, .exit_signal = SIGCHLD, .set_tid = reinterpret_cast<uint64_t>(&pid), .set_tid_size = 1};
  TRY(clone_as(pid, [&]() -> Result<uint64_t> {
    long made = ::syscall(SYS_clone3, &arguments, sizeof arguments);
    // It has our descriptors, a turn's among them: nothing of ours may end in it.
    if (made == 0) ::_exit(become(who, groups) && call() ? 0 : errno);
    return made < 0 ? fail_errno("clone3") : Result<uint64_t>(made);
  }));
  int status;
  while (::waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return fail_errno("wait");
  if (!WIFEXITED(status)) return fail(fmt::format("pid {} has died", pid));
  return WEXITSTATUS(status) ? fail_errno(fmt::format("as pid {}", pid), WEXITSTATUS(status)) : Result<>();
}

}  // namespace ks::engine::unix_socket
