// SPDX-License-Identifier: LGPL-2.1-or-later
// Clocks as a program sees them, through the vDSO and by system call: the monotonic one never goes back and never
// runs ahead of the wall clock; the boot-time clock keeps up with it.
#include <atomic>
#include <thread>

#include "program.h"

static int64_t by_call(clockid_t clock) {
  timespec time;
  CHECK(syscall(SYS_clock_gettime, clock, &time) == 0);
  return time.tv_sec * 1'000'000'000 + time.tv_nsec;
}

int main() {
  std::atomic<bool> finish = false;
  auto watch = [&](clockid_t clock) {
    for (int64_t last = now(clock); !finish;) {
      int64_t first = now(clock), second = by_call(clock), third = now(clock);
      CHECK(last <= first && first <= second && second <= third);
      last = third;
    }
  };
  int64_t monotonic = now(CLOCK_MONOTONIC), boot = now(CLOCK_BOOTTIME), wall = now(CLOCK_REALTIME);
  std::thread one(watch, CLOCK_MONOTONIC), two(watch, CLOCK_BOOTTIME);
  ready();
  finish = true;
  one.join();
  two.join();
  int64_t passed = now(CLOCK_REALTIME) - wall;
  monotonic = now(CLOCK_MONOTONIC) - monotonic, boot = now(CLOCK_BOOTTIME) - boot;
  dprintf(STDOUT_FILENO, "wall %ld ms, monotonic %ld ms, boot %ld ms\n", passed / kMillisecond,
          monotonic / kMillisecond, boot / kMillisecond);
  CHECK(monotonic <= passed + 20 * kMillisecond);
  CHECK(boot <= passed + 20 * kMillisecond && boot >= passed - 20 * kMillisecond);
  return 0;
}
