// SPDX-License-Identifier: LGPL-2.1-or-later
// setitimer(2): timers that go on ticking, one that is far away, and ones that expire while everything is frozen.
#include <sys/time.h>

#include "program.h"

static volatile int fired = 0;

static void arm(int which, int interval_ms, int first_ms) {
  itimerval timer{{interval_ms / 1000, interval_ms % 1000 * 1000}, {first_ms / 1000, first_ms % 1000 * 1000}};
  CHECK(setitimer(which, &timer, nullptr) == 0);
}
static double left(int which) {
  itimerval timer;
  CHECK(getitimer(which, &timer) == 0);
  return static_cast<double>(timer.it_value.tv_sec) + static_cast<double>(timer.it_value.tv_usec) / 1e6;
}

// A one-shot timer fires exactly once, whenever that may be; a repeated one again and again.
static void one_shot(int milliseconds) {
  arm(ITIMER_REAL, 0, milliseconds);
  wait_until_told();
  for (int i = 0; !fired && i < 2000; ++i) usleep(1000);
  CHECK(fired == 1 && left(ITIMER_REAL) == 0);
  usleep(30'000);
  CHECK(fired == 1);
  _exit(0);
}
static void repeated(int which, int milliseconds) {
  arm(which, milliseconds, milliseconds);
  while (!told())
    for (auto start = now(); now() - start < kMillisecond;) continue;
  // By their own clock: others may have the processors.
  clockid_t clock = which == ITIMER_REAL ? CLOCK_MONOTONIC : CLOCK_PROCESS_CPUTIME_ID;
  int before = fired;
  for (auto start = now(clock); fired < before + 3;) CHECK(now(clock) - start < 20'000 * kMillisecond);
  itimerval timer;
  CHECK(getitimer(which, &timer) == 0 && timer.it_interval.tv_usec == milliseconds * 1000);
  _exit(0);
}

int main() {
  for (int signal : {SIGALRM, SIGVTALRM, SIGPROF}) ::signal(signal, [](int) { fired = fired + 1; });
  pid_t children[14];
  int count = 0;
  for (int i = 0; i < 10; ++i)
    if ((children[count++] = fork()) == 0) one_shot(5 + 7 * i);
  for (int which : {ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF})
    if ((children[count++] = fork()) == 0) repeated(which, 20);
  arm(ITIMER_REAL, 0, 1'000'000);
  int64_t start = now();
  ready();
  double passed = static_cast<double>(now() - start) / 1e9, rest = left(ITIMER_REAL);
  CHECK(rest < 1001 && rest > 1000 - passed - 1);
  for (int i = 0; i < count; ++i) {
    int status;
    CHECK(waitpid(children[i], &status, 0) == children[i] && status == 0);
  }
  return 0;
}
