// SPDX-License-Identifier: LGPL-2.1-or-later
// Children that have ended and that nobody has waited for: by exit, by a signal, of another user, in a group
// and a session of their own; one that will report with SIGUSR1 to those who ask; one of a child. Their
// parent has heard of each of them once.
#include <sys/prctl.h>
#include <sys/resource.h>

#include <map>

#include "program.h"

static volatile int heard = 0;

template <class Body>
static pid_t fork_ending(const Body& body, int exit_signal = SIGCHLD) {
  auto child = static_cast<pid_t>(syscall(SYS_clone, exit_signal, 0, 0, 0, 0));
  CHECK(child >= 0);
  if (child) return child;
  rlimit no_core{};
  setrlimit(RLIMIT_CORE, &no_core);
  body();
  _exit(0);
}

static siginfo_t look(pid_t child) {
  siginfo_t info{};
  CHECK(waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT | __WALL) == 0);
  return info;
}

int main() {
  signal(SIGUSR1, SIG_IGN);
  struct sigaction count{};
  count.sa_handler = [](int) { heard = heard + 1; };
  count.sa_flags = SA_RESTART;
  CHECK(sigaction(SIGCHLD, &count, nullptr) == 0);

  std::map<pid_t, int> statuses;
  statuses[fork_ending([] {})] = 0;
  statuses[fork_ending([] { _exit(7); })] = 7 << 8;
  for (int signal : {SIGKILL, SIGTERM, SIGSEGV, SIGALRM, SIGRTMIN + 3, SIGTRAP})
    statuses[fork_ending([=] { raise(signal); })] = signal;
  statuses[fork_ending([] { CHECK(setresuid(4242, 4243, 4244) == 0); })] = 0;
  statuses[fork_ending([] { CHECK(setsid() > 0); })] = 0;
  statuses[fork_ending([] { CHECK(setpgid(0, 0) == 0 && prctl(PR_SET_NAME, "a zombie") == 0), _exit(255); })] = 255
                                                                                                                << 8;
  for (const auto& [child, status] : statuses) look(child);
  pid_t silent = fork_ending([] { _exit(9); }, SIGUSR1);
  statuses[silent] = 9 << 8;
  std::map<pid_t, siginfo_t> before;
  for (const auto& [child, status] : statuses) before[child] = look(child);

  // One whose SIGCHLD is queued, blocked; and a zombie's parent that is not the first.
  pid_t parent = fork_ending([] {
    signal(SIGCHLD, SIG_DFL);
    sigset_t chld;
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    CHECK(sigprocmask(SIG_BLOCK, &chld, nullptr) == 0);
    pid_t child = fork_ending([] { _exit(3); });
    look(child);
    dprintf(STDOUT_FILENO, "child\n");
    wait_until_told();
    siginfo_t info;
    timespec now{};
    CHECK(sigtimedwait(&chld, &info, &now) == SIGCHLD && info.si_pid == child && info.si_status == 3);
    CHECK(sigtimedwait(&chld, &info, &now) == -1);
    CHECK(waitpid(child, nullptr, 0) == child);
    _exit(11);
  });
  struct stat output;
  while (fstat(STDOUT_FILENO, &output) == 0 && output.st_size == 0) usleep(1000);
  usleep(10'000);
  int then = heard;
  ready();
  int status;
  CHECK(waitpid(parent, &status, 0) == parent && WEXITSTATUS(status) == 11);
  CHECK(heard == then + 1);
  for (const auto& [child, ended] : statuses) {
    siginfo_t is = look(child), was = before[child];
    CHECK(is.si_pid == was.si_pid && is.si_uid == was.si_uid && is.si_code == was.si_code &&
          is.si_status == was.si_status);
    CHECK(waitpid(child, &status, child == silent ? __WCLONE : 0) == child && status == ended);
  }
  CHECK(waitpid(-1, nullptr, __WALL) == -1 && errno == ECHILD && heard == then + 1);
  return 0;
}
