// SPDX-License-Identifier: LGPL-2.1-or-later
// Requests of io_uring(7) that are in flight while a target is dumped. Its rings are open files (kinds/io_uring).
#pragma once

#include <span>

#include "base/result.h"
#include "engine/context/dumping.h"

namespace ks::engine {

// Waits a little for them; calls are made in those processes in which they can be. What is not over is refused where
// the ring is dumped.
Result<> survey_rings(Dumping& dumping, std::span<StoppedProcess* const> callable);

}  // namespace ks::engine
