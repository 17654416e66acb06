// SPDX-License-Identifier: LGPL-2.1-or-later
// Waits with a relative time-out end when they would have ended: like one that waits for the moment itself. Made
// again whole they would be late by what had passed before the dump.
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>

#include <functional>
#include <thread>
#include <vector>

#include "program.h"

int main() {
  constexpr int kSeconds = 5;
  static constexpr timespec kWait{kSeconds, 0};
  static uint32_t word;
  std::vector<std::function<bool()>> waits = {
      [] { return poll(nullptr, 0, kSeconds * 1000) == 0; },
      [] { return syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &kWait) == -1 && errno == ETIMEDOUT; },
      [] { return syscall(SYS_nanosleep, &kWait, nullptr) == 0; },
      [] { return clock_nanosleep(CLOCK_MONOTONIC, 0, &kWait, nullptr) == 0; },
      [] { return clock_nanosleep(CLOCK_REALTIME, 0, &kWait, nullptr) == 0; },
      [] {
        epoll_event event;
        return epoll_wait(epoll_create1(0), &event, 1, kSeconds * 1000) == 0;
      },
      [] {
        epoll_event event;
        sigset_t none;
        sigemptyset(&none);
        return epoll_pwait(epoll_create1(0), &event, 1, kSeconds * 1000, &none) == 0;
      },
  };
  std::vector<int64_t> ends(waits.size());
  int64_t due = now() + kSeconds * 1000 * kMillisecond;
  std::vector<std::thread> threads;
  for (size_t i = 0; i < waits.size(); ++i)
    threads.emplace_back([&, i] {
      CHECK(waits[i]());
      ends[i] = now();
    });
  int64_t end = 0;
  threads.emplace_back([&] {
    timespec moment{due / 1'000'000'000, due % 1'000'000'000};
    CHECK(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &moment, nullptr) == 0);
    end = now();
  });
  usleep(2'500'000);
  ready();
  for (auto& thread : threads) thread.join();
  for (size_t i = 0; i < waits.size(); ++i) {
    int64_t late = (ends[i] - end) / kMillisecond;
    dprintf(STDOUT_FILENO, "wait %zu: late by %ld ms\n", i, late);
    CHECK(ends[i] >= due - 2 * kMillisecond && late < 1200);
  }
  return 0;
}
