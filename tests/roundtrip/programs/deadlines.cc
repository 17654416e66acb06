// SPDX-License-Identifier: LGPL-2.1-or-later
// Sleeps until an absolute time end at that time of their clock; timed waits on locks do.
#include <semaphore.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "program.h"

static void on_time(int64_t deadline, clockid_t clock) {
  int64_t late = now(clock) - deadline;
  dprintf(STDOUT_FILENO, "clock %d: late by %ld us\n", clock, late / 1000);
  CHECK(late >= 0 && late < 500 * kMillisecond * patience());
}

static void sleep_until(clockid_t clock, int64_t deadline) {
  timespec at{deadline / 1'000'000'000, deadline % 1'000'000'000};
  CHECK(clock_nanosleep(clock, TIMER_ABSTIME, &at, nullptr) == 0);
  on_time(deadline, clock);
}

int main() {
  constexpr int64_t kWait = 700 * kMillisecond;
  int64_t deadline = now() + kWait;
  std::thread monotonic([&] { sleep_until(CLOCK_MONOTONIC, deadline); });
  std::thread condition([&] {
    std::mutex mutex;
    std::condition_variable never;
    std::unique_lock lock(mutex);
    auto at = std::chrono::steady_clock::time_point(std::chrono::nanoseconds(deadline));
    CHECK(never.wait_until(lock, at) == std::cv_status::timeout);
    on_time(deadline, CLOCK_MONOTONIC);
  });
  std::thread conductor(ready);
  sleep_until(CLOCK_MONOTONIC, deadline);
  monotonic.join();
  condition.join();
  conductor.join();
  // The wall clock has gone on meanwhile: a deadline that it has passed is due at once.
  sleep_until(CLOCK_REALTIME, now(CLOCK_REALTIME) + 5 * kMillisecond);
  return 0;
}
