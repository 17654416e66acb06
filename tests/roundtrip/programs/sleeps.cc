// SPDX-License-Identifier: LGPL-2.1-or-later
// Long sleeps that say how much is left, in the main thread and in others: taken up where they were, no EINTR
// that nobody sent, and the rest right when somebody sends a signal.
#include <pthread.h>

#include <thread>

#include "program.h"

// Nanoseconds: what a sleep that starts anew would be wrong by.
static const int64_t wrong = 1000 * kMillisecond * patience();

static void sleep_long(clockid_t clock) {
  timespec length{3600, 0}, rest{-1, -1};
  int64_t start = now();
  int error = clock == -1 ? (nanosleep(&length, &rest) ? errno : 0) : clock_nanosleep(clock, 0, &length, &rest);
  CHECK(error == EINTR && told());
  int64_t slept = now() - start, left = rest.tv_sec * 1'000'000'000 + rest.tv_nsec;
  int64_t lost = 3'600'000 * kMillisecond - left - slept;
  dprintf(STDOUT_FILENO, "clock %d: slept %ld ms, off by %ld ms\n", clock, slept / kMillisecond, lost / kMillisecond);
  CHECK(slept > wrong && lost < wrong * 7 / 10 && lost > -wrong * 7 / 10);
}

int main() {
  signal(SIGUSR1, [](int) {});
  pthread_t main_thread = pthread_self();
  std::thread one([] { sleep_long(CLOCK_MONOTONIC); }), two([] { sleep_long(CLOCK_REALTIME); });
  std::thread conductor([&] {
    usleep(static_cast<useconds_t>(wrong / 1000));
    ready();
    for (pthread_t thread : {one.native_handle(), two.native_handle(), main_thread}) pthread_kill(thread, SIGUSR1);
  });
  sleep_long(-1);
  one.join();
  two.join();
  conductor.join();
  return 0;
}
