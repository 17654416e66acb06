// SPDX-License-Identifier: LGPL-2.1-or-later
// Timers of timer_create(2), as /proc/PID/timers lists them (Documentation/filesystems/proc.rst).
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ks::engine {

struct PosixTimer {
  int id = 0;
  int signal = 0;
  uint64_t value = 0;  // sigev_value
  int notify = 0;      // SIGEV_...
  pid_t target = 0;    // the process, or with SIGEV_THREAD_ID the thread
  int clock = 0;

  // Whether it has queued this signal, and will go on when that is delivered.
  bool queued(const siginfo_t& info) const;
};

bool queued_by_any(const std::vector<PosixTimer>& timers, const siginfo_t& info);

Result<std::vector<PosixTimer>> parse_posix_timers(std::string_view text);  // by id
Result<std::vector<PosixTimer>> read_posix_timers(pid_t pid);

}  // namespace ks::engine
