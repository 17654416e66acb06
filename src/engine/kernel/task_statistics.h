// SPDX-License-Identifier: LGPL-2.1-or-later
// Who wants to be told of each task that ends, on some CPUs (linux/taskstats.h).
#pragma once

#include "base/result.h"

namespace ks::engine {

// Whether there is anybody. No call tells, so the kernel's own lists are looked at.
Result<bool> has_listeners_to_task_ends();

}  // namespace ks::engine
