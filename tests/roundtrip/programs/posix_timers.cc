// SPDX-License-Identifier: LGPL-2.1-or-later
// timer_create(2): timers of every clock, that signal the process, a thread or nobody; far away, repeated, due
// meanwhile; one whose signal is queued already, and ones deleted between. Each has its number again and signals
// exactly once.
#include <vector>

#include "program.h"

static int create(clockid_t clock, int notify, int signal, int value, pid_t thread = 0) {
  struct {
    uint64_t value;
    int32_t signal, notify, thread, padding[11];
  } event{static_cast<uint64_t>(value), signal, notify, thread, {}};
  int id = -1;
  return syscall(SYS_timer_create, clock, &event, &id) ? -1 : id;
}
static void arm(int id, int64_t first, int64_t interval, int flags = 0) {
  itimerspec spec{{interval / 1'000'000'000, interval % 1'000'000'000},
                  {first / 1'000'000'000, first % 1'000'000'000}};
  CHECK(syscall(SYS_timer_settime, id, flags, &spec, nullptr) == 0);
}
static int64_t left(int id, int64_t* interval = nullptr) {
  itimerspec spec;
  CHECK(syscall(SYS_timer_gettime, id, &spec) == 0);
  if (interval) *interval = spec.it_interval.tv_sec * 1'000'000'000 + spec.it_interval.tv_nsec;
  return spec.it_value.tv_sec * 1'000'000'000 + spec.it_value.tv_nsec;
}
static siginfo_t take(int signal) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  siginfo_t info;
  while (sigwaitinfo(&set, &info) != signal) CHECK(errno == EINTR);
  return info;
}
static void expect_none(int signal) {
  sigset_t pending;
  CHECK(sigpending(&pending) == 0 && !sigismember(&pending, signal));
}

int main() {
  sigset_t all;
  sigfillset(&all);
  CHECK(sigprocmask(SIG_BLOCK, &all, nullptr) == 0);
  constexpr int64_t kFar = 100'000'000 * kMillisecond, kPause = 3'600'000 * kMillisecond;
  std::vector<int> far;
  for (clockid_t clock : {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI, CLOCK_PROCESS_CPUTIME_ID}) {
    int gap = create(clock, SIGEV_SIGNAL, SIGUSR1, 0);
    far.push_back(create(clock, SIGEV_SIGNAL, SIGUSR1, 0));
    arm(far.back(), kFar - static_cast<int64_t>(far.size()) * 100 * kMillisecond, 7 * kMillisecond);
    CHECK(gap >= 0 && syscall(SYS_timer_delete, gap) == 0);
  }
  int wall = create(CLOCK_REALTIME, SIGEV_SIGNAL, SIGUSR1, 0), silent = create(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0);
  int64_t wall_due = now(CLOCK_REALTIME) + kFar;
  arm(wall, wall_due, 0, TIMER_ABSTIME);
  arm(silent, kFar, 0);
  int idle = create(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGUSR2, 0);

  int once = create(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN + 1, 11);  // its signal is queued
  arm(once, 1, 0);
  int repeated = create(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN + 2, 12);
  arm(repeated, 10 * kMillisecond, 10 * kMillisecond);
  int soon = create(CLOCK_BOOTTIME, SIGEV_SIGNAL, SIGRTMIN + 3, 13);  // in the pause, or soon after
  arm(soon, 60 * kMillisecond, 0);
  int mine = create(CLOCK_MONOTONIC, SIGEV_SIGNAL | SIGEV_THREAD_ID, SIGRTMIN + 4, 14, getpid());
  arm(mine, 30 * kMillisecond, 0);
  CHECK(sigqueue(getpid(), SIGRTMIN + 1, sigval{.sival_int = 99}) == 0);
  usleep(20'000);
  ready();

  for (int id : far) {
    int64_t interval = 0, rest = left(id, &interval);
    CHECK(interval == 7 * kMillisecond && rest > kFar - kPause && rest <= kFar);
  }
  int64_t off = wall_due - now(CLOCK_REALTIME) - left(wall);
  CHECK(off < 100 * kMillisecond * patience() && off > -100 * kMillisecond * patience());
  CHECK(left(silent) > kFar - kPause && left(idle) == 0);
  bool timer = false, user = false;
  for (int i = 0; i < 2; ++i) {
    siginfo_t info = take(SIGRTMIN + 1);
    if (info.si_code == SI_TIMER) timer = info.si_timerid == once && info.si_value.sival_int == 11;
    if (info.si_code == SI_QUEUE) user = info.si_value.sival_int == 99;
  }
  CHECK(timer && user && left(once) == 0);
  for (int i = 0; i < 3; ++i) {
    siginfo_t info = take(SIGRTMIN + 2);
    CHECK(info.si_code == SI_TIMER && info.si_timerid == repeated && info.si_value.sival_int == 12);
  }
  CHECK(take(SIGRTMIN + 3).si_timerid == soon && take(SIGRTMIN + 4).si_value.sival_int == 14);
  for (int signal : {SIGRTMIN + 1, SIGRTMIN + 3, SIGRTMIN + 4, SIGUSR1, SIGUSR2}) expect_none(signal);
  for (int id : {once, repeated, soon, mine, wall, silent, idle}) CHECK(syscall(SYS_timer_delete, id) == 0);
  return 0;
}
