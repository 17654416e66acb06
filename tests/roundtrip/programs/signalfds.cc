// SPDX-License-Identifier: LGPL-2.1-or-later
// signalfd(2): signals of the process and of one thread, queued before and sent after; one that is waited for; one
// shared with a child, who reads its own signals through it.
#include <pthread.h>
#include <sys/signalfd.h>

#include <thread>

#include "program.h"

static signalfd_siginfo take(int fd) {
  signalfd_siginfo info;
  CHECK(read(fd, &info, sizeof info) == sizeof info);
  return info;
}
static int descriptor(std::initializer_list<int> signals, int flags) {
  sigset_t set;
  sigemptyset(&set);
  for (int signal : signals) sigaddset(&set, signal);
  int fd = signalfd(-1, &set, flags);
  CHECK(fd >= 0);
  return fd;
}

int main() {
  sigset_t all;
  sigfillset(&all);
  CHECK(sigprocmask(SIG_BLOCK, &all, nullptr) == 0);
  int fd = descriptor({SIGUSR1, SIGRTMIN + 1}, SFD_CLOEXEC), waited = descriptor({SIGUSR2}, 0);
  int idle = descriptor({SIGHUP, SIGKILL}, SFD_NONBLOCK);
  volatile bool finish = false;
  std::thread waiter([&] { CHECK(take(waited).ssi_signo == SIGUSR2); });
  std::thread own([&] {
    CHECK(pthread_sigqueue(pthread_self(), SIGRTMIN + 1, sigval{.sival_int = 17}) == 0);
    while (!finish) usleep(1000);
    CHECK(take(fd).ssi_int == 17);
  });
  pid_t child = fork();
  if (child == 0) {
    CHECK(raise(SIGUSR1) == 0);
    wait_until_told();
    CHECK(take(fd).ssi_pid == static_cast<uint32_t>(getpid()));
    _exit(0);
  }
  CHECK(kill(getpid(), SIGUSR1) == 0);
  for (int i = 0; i < 3; ++i) CHECK(sigqueue(getpid(), SIGRTMIN + 1, sigval{.sival_int = i}) == 0);
  usleep(20'000);
  ready();
  CHECK(take(fd).ssi_signo == SIGUSR1);
  for (int i = 0; i < 3; ++i) CHECK(take(fd).ssi_int == i);
  signalfd_siginfo none;
  CHECK(read(idle, &none, sizeof none) == -1 && errno == EAGAIN);
  CHECK(kill(getpid(), SIGHUP) == 0 && take(idle).ssi_signo == SIGHUP);
  CHECK(kill(getpid(), SIGUSR2) == 0);
  waiter.join();
  finish = true;
  own.join();
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  return 0;
}
