// SPDX-License-Identifier: LGPL-2.1-or-later
// The pauses between looks at something that does not say when it changes: short ones first, each twice as long as
// the one before.
#pragma once

#include <algorithm>
#include <chrono>
#include <thread>

namespace ks {

class Backoff {
 public:
  using Clock = std::chrono::steady_clock;
  explicit Backoff(Clock::time_point limit = Clock::time_point::max()) : limit_(limit) {}

  // False, at once: the limit has passed.
  bool pause() {
    if (Clock::now() > limit_) return false;
    std::this_thread::sleep_for(next_);
    next_ = std::min(next_ * 2, kLongest);
    return true;
  }
  // Something has changed, and more may follow soon.
  void start_anew() { next_ = kShortest; }

 private:
  static constexpr std::chrono::microseconds kShortest{20}, kLongest{1000};
  Clock::time_point limit_;
  std::chrono::microseconds next_ = kShortest;
};

}  // namespace ks
