// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/posix_timers.h"

#include <gtest/gtest.h>
#include <time.h>
#include <unistd.h>

namespace ks::engine {
namespace {

TEST(PosixTimers, AreReadInTheOrderOfTheirNumbers) {
  auto timers = parse_posix_timers(
      "ID: 7\nsignal: 34/00007fff86e452a8\nnotify: signal/tid.2634\nClockID: -2\n"
      "ID: 0\nsignal: 0/0000000000000000\nnotify: none/pid.2633\nClockID: 11\n");
  ASSERT_TRUE(timers) << timers.error().what;
  ASSERT_EQ(timers->size(), 2u);
  const PosixTimer &first = timers->front(), &second = timers->back();
  EXPECT_EQ(first.id, 0);
  EXPECT_EQ(first.notify, SIGEV_NONE);
  EXPECT_EQ(first.clock, 11);
  EXPECT_EQ(second.id, 7);
  EXPECT_EQ(second.signal, 34);
  EXPECT_EQ(second.value, 0x7fff86e452a8u);
  EXPECT_EQ(second.notify, SIGEV_SIGNAL | SIGEV_THREAD_ID);
  EXPECT_EQ(second.target, 2634);
  EXPECT_EQ(second.clock, -2);
}

TEST(PosixTimers, DamageIsFound) {
  EXPECT_TRUE(parse_posix_timers("")->empty());
  for (const char* text : {"ClockID: 1\n", "ID: x\n", "ID: 1\nsignal: 34\n", "ID: 1\nnotify: smoke/pid.1\n",
                           "ID: 1\nnotify: signal/pid.\n", "ID: 1\nClockID:\n"})
    EXPECT_FALSE(parse_posix_timers(text)) << text;
}

TEST(PosixTimers, AndTheirSignalsAreFoundByTheKernelsOwn) {
  sigset_t blocked, before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGRTMIN + 7);
  ASSERT_EQ(pthread_sigmask(SIG_BLOCK, &blocked, &before), 0);
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGRTMIN + 7;
  event.sigev_value.sival_int = 5;
  timer_t timer;
  ASSERT_EQ(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
  auto timers = read_posix_timers(::getpid());
  ASSERT_TRUE(timers) << timers.error().what;
  ASSERT_EQ(timers->size(), 1u);
  itimerspec soon{{}, {0, 1}};
  ASSERT_EQ(timer_settime(timer, 0, &soon, nullptr), 0);
  siginfo_t info;
  ASSERT_EQ(sigwaitinfo(&blocked, &info), SIGRTMIN + 7);
  EXPECT_TRUE(queued_by_any(*timers, info));
  info.si_code = SI_QUEUE;
  EXPECT_FALSE(queued_by_any(*timers, info));
  timer_delete(timer);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace
}  // namespace ks::engine
