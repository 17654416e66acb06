// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/undisturbed.h"

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

namespace ks::engine {

namespace {

// Stops whom this process traces from now on. A tracer that ends sets free what it traces; its own tracer stops it
// before that, also when it is killed. That it can be stopped says that it was not past that point.
bool hold(pid_t maker) {
  int status;
  return ::ptrace(PTRACE_SEIZE, maker, 0, PTRACE_O_TRACEEXIT) == 0 && ::ptrace(PTRACE_INTERRUPT, maker, 0, 0) == 0 &&
         ::waitpid(maker, &status, __WALL) == maker && WIFSTOPPED(status);
}

}  // namespace

Result<bool> do_undisturbed(const std::function<bool()>& work) {
  enum Answer { done = 0, untraceable = 1, failed = 2 };
  pid_t maker = ::gettid();
  pid_t child = ::fork();
  if (child < 0) return fail_errno("fork");
  if (child == 0) {
    ::setsid();  // what is sent to its maker's group is not meant for it
    sigset_t all;
    ::sigfillset(&all);
    ::sigprocmask(SIG_BLOCK, &all, nullptr);
    if (!hold(maker)) ::_exit(untraceable);
    ::_exit(work() ? done : failed);
  }
  int status;
  while (::waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return fail_errno("wait");
  if (!WIFEXITED(status) || WEXITSTATUS(status) == failed) return work();
  if (WEXITSTATUS(status) == untraceable)
    return refuse(
        "holds what can only be taken and put back, which kernel-swap does not do while somebody traces it");
  return true;
}

}  // namespace ks::engine
