// SPDX-License-Identifier: LGPL-2.1-or-later
// More signals are queued, and timers made, than its limit of them allows by now (RLIMIT_SIGPENDING): for the process
// and for its threads.
#include <pthread.h>
#include <sys/resource.h>

#include <thread>

#include "program.h"

static constexpr int kSignals = 40;

static siginfo_t take() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN);
  siginfo_t info;
  CHECK(sigwaitinfo(&set, &info) == SIGRTMIN);
  return info;
}

int main() {
  sigset_t all;
  sigfillset(&all);
  CHECK(sigprocmask(SIG_BLOCK, &all, nullptr) == 0);
  volatile bool finish = false;
  std::thread own([&] {
    for (int i = 0; i < kSignals; ++i)
      CHECK(pthread_sigqueue(pthread_self(), SIGRTMIN, sigval{.sival_int = 1000 + i}) == 0);
    while (!finish) usleep(1000);
    for (int i = 0; i < kSignals; ++i) CHECK(take().si_int == 1000 + i);
  });
  for (int i = 0; i < kSignals; ++i) CHECK(sigqueue(getpid(), SIGRTMIN, sigval{.sival_int = i}) == 0);
  sigevent by{};
  by.sigev_notify = SIGEV_SIGNAL;
  by.sigev_signo = SIGRTMIN + 1;
  timer_t timer;
  CHECK(timer_create(CLOCK_MONOTONIC, &by, &timer) == 0);
  usleep(20'000);
  rlimit limit, now;
  CHECK(getrlimit(RLIMIT_SIGPENDING, &limit) == 0);
  limit.rlim_cur = 1;
  CHECK(setrlimit(RLIMIT_SIGPENDING, &limit) == 0);
  ready();
  CHECK(getrlimit(RLIMIT_SIGPENDING, &now) == 0 && now.rlim_cur == 1 && now.rlim_max == limit.rlim_max);
  CHECK(sigqueue(getpid(), SIGRTMIN, sigval{}) == -1 && errno == EAGAIN);
  itimerspec soon{.it_interval = {}, .it_value = {0, 1'000'000}};
  CHECK(timer_settime(timer, 0, &soon, nullptr) == 0);
  sigset_t expired;
  sigemptyset(&expired);
  sigaddset(&expired, SIGRTMIN + 1);
  CHECK(sigwaitinfo(&expired, nullptr) == SIGRTMIN + 1);
  for (int i = 0; i < kSignals; ++i) CHECK(take().si_int == i);
  finish = true;
  own.join();
  return 0;
}
