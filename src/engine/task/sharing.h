// SPDX-License-Identifier: LGPL-2.1-or-later
// What processes share with each other as threads do (clone(2)): memory, signal handlers, descriptor tables,
// directories.
#pragma once

#include "base/result.h"
#include "engine/context/dumping.h"

namespace ks::engine {

// Fills in `dumping.memory_of`, `handlers_of`, `sharing_descriptors` and `sharing_directories`. Refuses what a
// process outside has as well.
Result<> find_sharing(Dumping& dumping);

}  // namespace ks::engine
