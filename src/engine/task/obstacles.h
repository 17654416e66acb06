// SPDX-License-Identifier: LGPL-2.1-or-later
// What stands in the way of a checkpoint and is seen from outside, before anything is called in a process.
#pragma once

#include "base/result.h"
#include "engine/context/dumping.h"

namespace ks::engine {

// Refuses it in `dumping`. False: no call may be made in the process.
Result<bool> check_process(Dumping& dumping, StoppedProcess& process);
// Children that are left out. Fills in `dumping.forked_by`.
Result<> check_children(Dumping& dumping);

}  // namespace ks::engine
