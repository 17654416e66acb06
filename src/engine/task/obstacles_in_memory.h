// SPDX-License-Identifier: LGPL-2.1-or-later
// What stands in the way of a checkpoint and no area of memory shows.
#pragma once

#include "base/result.h"
#include "engine/context/dumping.h"

namespace ks::engine {

// Memory policies (set_mempolicy(2), mbind(2)).
Result<> check_memory_policies(Dumping& dumping, DumpedProcess& process);

}  // namespace ks::engine
