// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/timer_list.h"

#include <gtest/gtest.h>
#include <time.h>

namespace ks::engine {
namespace {

// Of 6.18, shortened.
constexpr std::string_view kText = R"(Timer List Version: v0.10
HRTIMER_MAX_CLOCK_BASES: 8
now at 1482819671414 nsecs

cpu: 0
 clock 0:
  .base:       000000006188b0a7
  .index:      0
  .resolution: 1 nsecs
  .offset:     0 nsecs
active timers:
 #0: <000000007e50aba7>, tick_nohz_handler, S:01
 # expires at 1482820000000-1482820000000 nsecs [in 328586 to 328586 nsecs]
 #1: <0000000043ba6b6a>, hrtimer_wakeup, S:01
 # expires at 1482820471877-1482820521877 nsecs [in 800463 to 850463 nsecs]
 clock 1:
  .base:       00000000440a9724
  .index:      1
  .offset:     1795536413303537407 nsecs
active timers:
 #0: <00000000502b0b6e>, posix_timer_fn, S:01
 # expires at 1795543565251292059-1795543565251292059 nsecs [in 999629877316 to 999629877316 nsecs]
 clock 4:
  .index:      6
active timers:
 #0: <00000000502b0b6e>, timerfd_tmrproc, S:01
 # expires at 17-17 nsecs [in 1 to 1 nsecs]
  .expires_next   : 1482820521877 nsecs
Tick Device: mode:     1
)";

TEST(TimerList, TellsClockFunctionAndTime) {
  std::vector<ArmedTimer> expected = {{CLOCK_MONOTONIC, "tick_nohz_handler", 1482820000000},
                                      {CLOCK_MONOTONIC, "hrtimer_wakeup", 1482820471877},
                                      {CLOCK_REALTIME, "posix_timer_fn", 1795543565251292059},
                                      {CLOCK_BOOTTIME, "timerfd_tmrproc", 17}};
  EXPECT_EQ(parse_timer_list(kText), expected);
}

TEST(TimerList, PassesOverWhatItDoesNotKnow) {
  EXPECT_TRUE(parse_timer_list("").empty());
  EXPECT_TRUE(parse_timer_list("# expires at 1-2 nsecs\n#\n.index: x\n# expires at 3-4\n").empty());
  EXPECT_TRUE(parse_timer_list(" .index: 1\n #0: <0>, f, S:01\n # expires at soon-later nsecs\n").empty());
}

TEST(TimerList, TellsItsTime) {
  EXPECT_EQ(time_of_list(kText), 1482819671414);
  EXPECT_EQ(time_of_list("cpu: 0\n"), -1);
  EXPECT_EQ(time_of_list("\nnow at noon\n"), -1);
}

}  // namespace
}  // namespace ks::engine
