// SPDX-License-Identifier: LGPL-2.1-or-later
// Clocks that start anew with each kernel, and the time namespace that makes them go on (time_namespaces(7)).
#pragma once

#include <sys/types.h>
#include <time.h>

#include <cstdint>
#include <string>

#include "base/result.h"

namespace ks::engine {

inline constexpr int64_t kSecond = 1'000'000'000;  // all times are nanoseconds

inline timespec to_timespec(int64_t nanoseconds) { return {nanoseconds / kSecond, nanoseconds % kSecond}; }
inline int64_t from_timespec(const timespec& time) { return time.tv_sec * kSecond + time.tv_nsec; }

struct Clocks {
  int64_t monotonic = 0, boottime = 0, realtime = 0;
};

// What a time namespace adds to our own clocks.
struct ClockOffsets {
  int64_t monotonic = 0, boottime = 0;
  int64_t of(clockid_t clock) const;  // 0 for a clock that namespaces do not touch
};

// Of the processes that `pid` starts.
Result<ClockOffsets> read_offsets(pid_t pid);

// Now, as a process with these offsets sees it.
Result<int64_t> read_clock(clockid_t clock, const ClockOffsets& offsets);
Result<Clocks> read_clocks(const ClockOffsets& offsets);

// With which processes see `before` go on. A swap is like a suspend: the monotonic clock stands still while it lasts,
// the boot-time clock counts it (clock_gettime(2)).
Result<ClockOffsets> continuing_offsets(const Clocks& before);

// As /proc/PID/timens_offsets takes them.
Result<std::string> timens_offsets(const ClockOffsets& offsets);

}  // namespace ks::engine
