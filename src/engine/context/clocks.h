// SPDX-License-Identifier: LGPL-2.1-or-later
// Clocks that start anew with each kernel, and the time namespace that makes them go on (time_namespaces(7)).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "base/result.h"

namespace ks::engine {

struct Clocks {
  int64_t monotonic = 0, boottime = 0, realtime = 0;  // nanoseconds
};

// As a process sees them.
Result<Clocks> read_clocks(pid_t pid);

// What to write to /proc/PID/timens_offsets so that processes see `before` go on. A swap is like a suspend: the
// monotonic clock stands still while it lasts, the boot-time clock counts it (clock_gettime(2)).
Result<std::string> continuing_offsets(const Clocks& before);

}  // namespace ks::engine
