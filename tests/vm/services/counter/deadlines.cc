// SPDX-License-Identifier: LGPL-2.1-or-later
#include "report.h"
#include "workers.h"

void keep_deadlines() {
  constexpr int64_t kPeriod = 100 * kMillisecond;
  // A busy emulated machine may be late by the seconds that a dump and a restore take.
  constexpr int64_t kTooLate = 120 * kSecond;
  const int64_t start = now(CLOCK_MONOTONIC);
  for (int64_t tick = 1;; ++tick) {
    const int64_t deadline = start + tick * kPeriod;
    timespec until = to_timespec(deadline);
    if (int error = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr))
      FAIL("deadline: error %d", error);
    const int64_t late = now(CLOCK_MONOTONIC) - deadline;
    if (late < 0) FAIL("deadline: woke %ld ns early", -late);
    if (late > kTooLate) FAIL("deadline: woke %ld ns late", late);
    if (late > progress.worst_late) progress.worst_late = late;
    ++progress.ticks;
  }
}
