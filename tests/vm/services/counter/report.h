// SPDX-License-Identifier: LGPL-2.1-or-later
// What the threads have done so far, and what went wrong: a line that begins with FAIL, which must never appear.
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include <atomic>

struct Progress {
  std::atomic<uint64_t> ticks, registers, handoffs, messages, hashes, failures;
  std::atomic<int64_t> worst_late;  // nanoseconds
};
inline Progress progress;

// One write(2) a line, so that lines of several threads do not mix.
#define FAIL(format, ...) (++progress.failures, (void)dprintf(1, "FAIL " format "\n" __VA_OPT__(, ) __VA_ARGS__))

constexpr int64_t kSecond = 1'000'000'000, kMillisecond = 1'000'000;

inline int64_t now(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return time.tv_sec * kSecond + time.tv_nsec;
}

inline timespec to_timespec(int64_t nanoseconds) {
  return {.tv_sec = nanoseconds / kSecond, .tv_nsec = nanoseconds % kSecond};
}

inline void sleep_for(int64_t nanoseconds) {
  timespec time = to_timespec(nanoseconds);
  // Nobody sends us signals, so nothing may interrupt a sleep.
  if (int error = clock_nanosleep(CLOCK_MONOTONIC, 0, &time, nullptr)) FAIL("sleep: error %d", error);
}
