// SPDX-License-Identifier: LGPL-2.1-or-later
// Who dumps and restores: this project's engine, or criu where there is one. Each works in a process of its own.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "base/result.h"

namespace ks::bench {

struct Feat {
  double seconds = 0;
  double cpu_seconds = 0;     // of the one who did it, not of the processes that it had make system calls
  double frozen_seconds = 0;  // of a dump by the engine
  uint64_t memory_bytes = 0;  // in the image
  uint64_t peak_bytes = 0;    // resident memory of the one who did it
};

// Whole, to what `commit` means: durable where the image lies on a disk. The processes are killed, which is not
// timed, unless they are to run on.
Result<Feat> engine_dump(pid_t root, const std::string& image, bool leave_running);
// Until they run.
Result<Feat> engine_restore(const std::string& image);

// A `criu` in PATH, or that of the system whose root directory $KS_CRIU_CHROOT names.
bool has_criu();
Result<Feat> criu_dump(pid_t root, const std::string& image, bool leave_running);
Result<Feat> criu_restore(const std::string& image);

}  // namespace ks::bench
