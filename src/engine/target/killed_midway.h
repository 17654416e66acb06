// SPDX-License-Identifier: LGPL-2.1-or-later
// For tests of work that somebody else can complete.
#pragma once

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

namespace ks::test {

// Begins the work in a child, which is killed after so many stops before and behind its system calls. False: that
// went wrong.
inline bool kill_midway(const std::function<void()>& work, unsigned stops) {
  pid_t child = ::fork();
  if (child == 0) {
    ::ptrace(PTRACE_TRACEME, 0, 0, 0);
    ::raise(SIGSTOP);
    work();
    ::_exit(0);
  }
  int status;
  if (::waitpid(child, &status, 0) != child) return false;
  for (; stops && WIFSTOPPED(status); --stops) {
    ::ptrace(PTRACE_SYSCALL, child, 0, 0);
    if (::waitpid(child, &status, 0) != child) return false;
  }
  if (!WIFSTOPPED(status)) return true;
  ::kill(child, SIGKILL);
  return ::waitpid(child, &status, 0) == child;
}

}  // namespace ks::test
