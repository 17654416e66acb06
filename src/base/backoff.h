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
  using Pause = std::chrono::microseconds;
  explicit Backoff(Clock::time_point limit = Clock::time_point::max(), Pause shortest = Pause(20),
                   Pause longest = Pause(1000))
      : limit_(limit), shortest_(shortest), longest_(longest), next_(shortest) {}

  bool is_over() const { return Clock::now() > limit_; }
  // False, at once: the limit has passed.
  bool pause() {
    if (is_over()) return false;
    std::this_thread::sleep_for(next_);
    next_ = std::min(next_ * 2, longest_);
    return true;
  }
  // Something has changed, and more may follow soon.
  void start_anew() { next_ = shortest_; }

 private:
  Clock::time_point limit_;
  Pause shortest_, longest_, next_;
};

}  // namespace ks
