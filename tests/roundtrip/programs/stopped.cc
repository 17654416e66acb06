// SPDX-License-Identifier: LGPL-2.1-or-later
// Children that job control has stopped, with and without threads, by a signal that their parent has heard of, or not
// yet; one that runs on again, which its parent has not heard of either. Each goes on where it was.
#include <thread>

#include "program.h"

static volatile int heard = 0;
static volatile int* counts;

// Counts until it has been told; in a second thread too.
static pid_t start(int slot, bool threads) {
  pid_t child = fork();
  CHECK(child >= 0);
  if (child) return child;
  signal(SIGCHLD, SIG_DFL);
  auto count = [=](int at) {
    while (!told()) {
      counts[at] = counts[at] + 1;
      usleep(200);
    }
    CHECK(usleep(1000) == 0);
  };
  if (threads) {
    std::thread other(count, slot + 1);
    count(slot);
    other.join();
  } else {
    count(slot);
  }
  _exit(slot);
}
static siginfo_t look(pid_t child, int options) {
  siginfo_t info{};
  CHECK(waitid(P_PID, static_cast<id_t>(child), &info, options | WNOHANG) == 0);
  return info;
}
static void await(pid_t child, int options, int status) {
  siginfo_t info{};
  CHECK(waitid(P_PID, static_cast<id_t>(child), &info, options) == 0 && info.si_pid == child &&
        info.si_status == status);
}

// Its SIGCHLD is as a new program has it.
static void wait_for_nothing() {
  struct {
    uint64_t handler, flags, restorer, mask;
  } action{};
  CHECK(syscall(SYS_rt_sigaction, SIGCHLD, &action, 0, 8) == 0);
  pid_t child = fork();
  if (child == 0)
    for (;;) pause();
  CHECK(kill(child, SIGSTOP) == 0);
  await(child, WSTOPPED, SIGSTOP);
  wait_until_told();
  CHECK(syscall(SYS_rt_sigaction, SIGCHLD, 0, &action, 8) == 0);
  CHECK(action.handler == 0 && action.flags == 0 && action.restorer == 0 && action.mask == 0);
  CHECK(kill(child, SIGKILL) == 0 && waitpid(child, nullptr, 0) == child);
  _exit(0);
}

int main() {
  pid_t other = fork();
  if (other == 0) wait_for_nothing();
  counts = reinterpret_cast<volatile int*>(map_memory(kPage, MAP_SHARED));
  struct sigaction count{};
  count.sa_handler = [](int) { heard = heard + 1; };
  count.sa_flags = SA_RESTART;
  CHECK(sigaction(SIGCHLD, &count, nullptr) == 0);
  pid_t heard_of = start(1, false), unheard = start(3, true), by_terminal = start(5, true),
        continued = start(7, false);
  while (!counts[1] || !counts[3] || !counts[4] || !counts[5] || !counts[6] || !counts[7]) usleep(1000);
  CHECK(kill(heard_of, SIGSTOP) == 0 && kill(unheard, SIGSTOP) == 0);
  // Only a process group that somebody controls can be stopped by it.
  CHECK(setpgid(by_terminal, by_terminal) == 0 && kill(by_terminal, SIGTSTP) == 0 && kill(continued, SIGSTOP) == 0);
  await(heard_of, WSTOPPED, SIGSTOP);
  await(unheard, WSTOPPED | WNOWAIT, SIGSTOP);
  await(by_terminal, WSTOPPED, SIGTSTP);
  await(continued, WSTOPPED, SIGSTOP);
  CHECK(kill(continued, SIGCONT) == 0);
  await(continued, WCONTINUED | WNOWAIT, SIGCONT);
  usleep(20'000);
  int before[9], then = heard;
  for (int i = 0; i < 9; ++i) before[i] = counts[i];
  ready();
  for (int i = 1; i < 7; ++i) CHECK(counts[i] == before[i]);
  CHECK(heard - then <= 2);  // the ends of those that run
  CHECK(look(heard_of, WSTOPPED).si_pid == 0 && look(by_terminal, WSTOPPED).si_pid == 0);
  CHECK(look(unheard, WSTOPPED).si_pid == unheard && look(unheard, WSTOPPED).si_pid == 0);
  int status;
  CHECK(waitpid(continued, &status, 0) == continued && WEXITSTATUS(status) == 7 && counts[7] > before[7]);
  CHECK(waitpid(other, &status, 0) == other && status == 0);
  int slot = 1;
  for (pid_t child : {heard_of, unheard, by_terminal}) {
    CHECK(kill(child, SIGCONT) == 0);
    siginfo_t info{};  // one that has ended by now is no child that goes on
    CHECK(waitid(P_PID, static_cast<id_t>(child), &info, WCONTINUED) == 0 ? info.si_status == SIGCONT
                                                                          : errno == ECHILD);
    CHECK(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == slot && counts[slot] <= before[slot] + 1);
    slot += 2;
  }
  return 0;
}
