// SPDX-License-Identifier: LGPL-2.1-or-later
// timerfd_create(2): every clock, absolute and relative, repeated and once, armed, not armed, expired with the count
// unread, expiring meanwhile, waited for by a thread. By their clock none is early and no expiration is lost.
#include <sys/timerfd.h>

#include <thread>
#include <vector>

#include "program.h"

static constexpr int kClocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME_ALARM,
                                  CLOCK_BOOTTIME_ALARM};

// By which it really counts.
static clockid_t plain(int clock, bool absolute) {
  if (clock == CLOCK_BOOTTIME_ALARM) return CLOCK_BOOTTIME;
  if (clock == CLOCK_REALTIME_ALARM) return CLOCK_REALTIME;
  return clock == CLOCK_REALTIME && !absolute ? CLOCK_MONOTONIC : clock;
}
static timespec spec_of(int64_t time) { return {time / 1'000'000'000, time % 1'000'000'000}; }

struct Timer {
  int fd, clock;
  bool absolute;
  int64_t due, interval;

  Timer(int clock, bool absolute, int64_t first, int64_t interval)
      : fd(timerfd_create(clock, TFD_NONBLOCK | TFD_CLOEXEC)),
        clock(plain(clock, absolute)),
        absolute(absolute),
        interval(interval) {
    CHECK(fd >= 0);
    due = now(this->clock) + first;
    itimerspec spec{spec_of(interval), spec_of(absolute ? due : first)};
    CHECK(timerfd_settime(fd, absolute ? TFD_TIMER_ABSTIME : 0, &spec, nullptr) == 0);
  }
  uint64_t take() const {
    uint64_t ticks = 0;
    if (read(fd, &ticks, 8) != 8) CHECK(errno == EAGAIN);
    return ticks;
  }
  // Never early. Late by one at most: a busy machine serves its timer interrupts when it can.
  void check_count() const {
    uint64_t least = passed(20 * kMillisecond), ticks = take(), most = passed(0);
    if (ticks < least || ticks > most)
      dprintf(STDOUT_FILENO, "clock %d%s: %lu ticks, of %lu to %lu\n", clock, absolute ? " absolute" : "", ticks,
              least, most);
    CHECK(ticks >= least && ticks <= most);
  }
  uint64_t passed(int64_t late = 0) const {
    int64_t time = now(clock) - late;
    if (time < due) return 0;
    return interval ? static_cast<uint64_t>((time - due) / interval + 1) : 1;
  }
};

int main() {
  std::vector<Timer> repeated, far, once;
  for (int clock : kClocks)
    for (bool absolute : {false, true}) {
      int probe = timerfd_create(clock, 0);
      if (probe < 0) continue;  // no capability
      close(probe);
      repeated.emplace_back(clock, absolute, 7 * kMillisecond, 13 * kMillisecond);
      far.emplace_back(clock, absolute, 1'000'000 * kMillisecond, 5'000 * kMillisecond);
      once.emplace_back(clock, absolute, 1 * kMillisecond, 0);
      once.emplace_back(clock, absolute, 45 * kMillisecond, 0);
      once.emplace_back(clock, absolute, 95 * kMillisecond, 0);
    }
  int never = timerfd_create(CLOCK_MONOTONIC, 0), idle = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK);
  itimerspec only_interval{{7, 8}, {0, 0}};
  CHECK(timerfd_settime(idle, 0, &only_interval, nullptr) == 0);
  int watched = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK);
  itimerspec next_year{{}, spec_of(now(CLOCK_REALTIME) + 31'536'000'000 * kMillisecond)};
  CHECK(timerfd_settime(watched, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &next_year, nullptr) == 0);
  std::thread waiter([] {
    Timer timer(CLOCK_MONOTONIC, false, 60 * kMillisecond, 0);
    CHECK(fcntl(timer.fd, F_SETFL, 0) == 0 && timer.take() == 1 && now() >= timer.due);
  });
  usleep(20'000);
  ready();
  for (const Timer& timer : repeated) timer.check_count();
  for (const Timer& timer : far) {
    itimerspec left;
    CHECK(timerfd_gettime(timer.fd, &left) == 0 && timer.take() == 0);
    int64_t rest = left.it_value.tv_sec * 1'000'000'000 + left.it_value.tv_nsec,
            off = timer.due - now(timer.clock) - rest;
    bool right = off < 50 * kMillisecond * patience() && off > -50 * kMillisecond * patience();
    if (!right) dprintf(STDOUT_FILENO, "clock %d: off by %ld\n", timer.clock, off);
    CHECK(left.it_interval.tv_sec == 5 && right);
  }
  for (const Timer& timer : once) {
    while (timer.passed() == 0) usleep(1000);
    uint64_t ticks = 0;
    for (int i = 0; i < 1000 && ticks == 0; ++i, usleep(1000)) ticks = timer.take();
    CHECK(ticks == 1 && timer.take() == 0);
  }
  itimerspec left;
  CHECK(timerfd_gettime(never, &left) == 0 && left.it_value.tv_sec == 0 && left.it_value.tv_nsec == 0);
  CHECK(timerfd_gettime(idle, &left) == 0 && left.it_value.tv_sec == 0 && left.it_interval.tv_sec == 7 &&
        left.it_interval.tv_nsec == 8);
  CHECK(timerfd_gettime(watched, &left) == 0 && left.it_value.tv_sec > 31'000'000);
  for (const Timer& timer : repeated) {
    itimerspec spec;
    CHECK(timerfd_gettime(timer.fd, &spec) == 0 && spec.it_interval.tv_nsec == 13 * kMillisecond &&
          spec.it_value.tv_nsec <= 13 * kMillisecond);
  }
  waiter.join();
  return 0;
}
