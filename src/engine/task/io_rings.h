// SPDX-License-Identifier: LGPL-2.1-or-later
// Requests of io_uring(7) that are in flight while a target is dumped. Its rings are open files (kinds/io_uring).
#pragma once

#include "base/result.h"
#include "engine/context/dumping.h"

namespace ks::engine {

// Waits a little for them. What is never over is refused where the ring is dumped.
Result<> survey_rings(Dumping& dumping);

}  // namespace ks::engine
