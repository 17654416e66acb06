// SPDX-License-Identifier: LGPL-2.1-or-later
// The keyrings of processes that cannot be asked for them (keyrings(7)), read where they lie.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

#include "base/result.h"

namespace ks::engine {

struct ThreadKeyrings {
  int32_t thread = 0, process = 0, session = 0;  // serial numbers, 0: none
  uint32_t user = 0;                             // whose that of the session is
};

// Of each thread of a process. Fails where the kernel has no BTF or bpf(2), or lets nobody read in it
// (kernel_lockdown(7)).
Result<std::vector<ThreadKeyrings>> keyrings_of(pid_t pid);

}  // namespace ks::engine
