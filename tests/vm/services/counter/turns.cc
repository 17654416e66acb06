// SPDX-License-Identifier: LGPL-2.1-or-later
#include <chrono>
#include <condition_variable>
#include <mutex>

#include "report.h"
#include "workers.h"

namespace {

std::mutex mutex;
std::condition_variable given, taken;
uint64_t number = 0, answer = 0;

// Longer than a dump and a restore take; the clock of this wait stands still in between.
constexpr std::chrono::seconds kLong(120);

}  // namespace

void give_turns() {
  for (uint64_t turn = 1;; ++turn) {
    {
      std::unique_lock lock(mutex);
      number = turn;
      given.notify_one();
      if (!taken.wait_for(lock, kLong, [&] { return answer == turn; })) FAIL("turn %lu was not taken", turn);
    }
    ++progress.handoffs;
    sleep_for(20 * kMillisecond);
  }
}

void take_turns() {
  for (uint64_t turn = 1;; ++turn) {
    std::unique_lock lock(mutex);
    if (!given.wait_for(lock, kLong, [&] { return number >= turn; })) FAIL("turn %lu was not given", turn);
    if (number != turn) FAIL("turn %lu instead of %lu", number, turn);
    answer = turn;
    taken.notify_one();
  }
}
