// SPDX-License-Identifier: LGPL-2.1-or-later
// Signals that are queued while they are blocked: for the process and for threads, in order, with their values,
// from user and kernel.
#include <pthread.h>

#include <thread>

#include "program.h"

static void queue(int signal, int value) { CHECK(sigqueue(getpid(), signal, sigval{.sival_int = value}) == 0); }
static siginfo_t take(int signal) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  siginfo_t info;
  timespec zero{};
  CHECK(syscall(SYS_rt_sigtimedwait, &set, &info, &zero, 8) == signal);  // the C library would hide SI_TKILL
  return info;
}
static void expect(int signal, int value, int code) {
  siginfo_t info = take(signal);
  CHECK(info.si_value.sival_int == value && info.si_code == code && info.si_pid == getpid() &&
        info.si_uid == getuid());
}
static void expect_none() {
  sigset_t pending;
  CHECK(sigpending(&pending) == 0);
  for (int signal = 1; signal < NSIG; ++signal) CHECK(!sigismember(&pending, signal));
}

int main() {
  sigset_t all;
  sigfillset(&all);
  CHECK(sigprocmask(SIG_BLOCK, &all, nullptr) == 0);

  pid_t child = fork();
  if (child == 0) _exit(9);
  CHECK(waitpid(child, nullptr, 0) == child);  // its SIGCHLD stays

  for (int i = 0; i < 5; ++i) queue(SIGRTMIN + 2, 1000 + i);
  queue(SIGRTMIN + 1, -1);
  queue(SIGUSR1, 77);
  CHECK(kill(getpid(), SIGTERM) == 0);
  int pipes[2];
  CHECK(pipe(pipes) == 0 && close(pipes[0]) == 0 && write(pipes[1], "x", 1) == -1 && errno == EPIPE);
  CHECK(close(pipes[1]) == 0);

  volatile bool finish = false;
  std::thread thread([&] {
    CHECK(pthread_sigqueue(pthread_self(), SIGRTMIN + 5, sigval{.sival_int = 5}) == 0);
    CHECK(pthread_sigqueue(pthread_self(), SIGRTMIN + 5, sigval{.sival_int = 6}) == 0);
    CHECK(pthread_kill(pthread_self(), SIGUSR2) == 0);
    while (!finish) usleep(1000);
    expect(SIGRTMIN + 5, 5, SI_QUEUE);
    expect(SIGRTMIN + 5, 6, SI_QUEUE);
    CHECK(take(SIGUSR2).si_code == SI_TKILL);
  });
  usleep(10'000);
  ready();
  siginfo_t info = take(SIGCHLD);
  CHECK(info.si_code == CLD_EXITED && info.si_pid == child && info.si_status == 9);
  for (int i = 0; i < 5; ++i) expect(SIGRTMIN + 2, 1000 + i, SI_QUEUE);
  expect(SIGRTMIN + 1, -1, SI_QUEUE);
  expect(SIGUSR1, 77, SI_QUEUE);
  CHECK(take(SIGTERM).si_code == SI_USER);
  CHECK(take(SIGPIPE).si_code == SI_USER);  // what the kernel says of it
  expect_none();
  finish = true;
  thread.join();
  return 0;
}
