// SPDX-License-Identifier: LGPL-2.1-or-later
// Keeps the calling thread on the CPU where a stopped thread ran last. The two take turns: where each has to be woken
// on another CPU, a turn takes 6 to 9 times as long, and as long as the queue there on a busy one. The stopped
// thread's own affinity is not for us to change: it would keep that if we were killed.
#pragma once

#include <sched.h>

#include <utility>

namespace ks::engine {

class Companion {
 public:
  Companion() { known_ = ::sched_getaffinity(0, sizeof before_, &before_) == 0; }
  Companion(Companion&& other) noexcept
      : before_(other.before_), known_(std::exchange(other.known_, false)), at_(other.at_) {}
  Companion& operator=(Companion&&) = delete;
  ~Companion() {
    if (known_ && at_ >= 0) ::sched_setaffinity(0, sizeof before_, &before_);
  }

  // Stays where it is if it may not go there.
  void follow_to(int cpu) {
    if (!known_ || cpu < 0 || cpu >= CPU_SETSIZE || cpu == at_) return;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    if (::sched_setaffinity(0, sizeof one, &one) == 0) at_ = cpu;
  }

 private:
  cpu_set_t before_{};
  bool known_ = false;
  int at_ = -1;
};

}  // namespace ks::engine
