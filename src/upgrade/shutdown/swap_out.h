// SPDX-License-Identifier: LGPL-2.1-or-later
// The half of a swap that the old kernel sees: freeze, dump, commit, kill.
#pragma once

#include "base/result.h"
#include "engine/engine.h"
#include "upgrade/swap_store.h"
#include "upgrade/systemd/bus.h"

namespace ks::upgrade {

// Carries out every marked unit that runs. A unit that cannot be dumped is let go, to be stopped in the
// ordinary way, and named in the manifest; the others go on.
Result<> swap_out(const Bus& bus, const SwapStore& store, const engine::NextKernel& next);

// After swap_out() has ended, however it did: nothing half made is left, and no image of processes that live.
Result<> clean_up(const SwapStore& store);

}  // namespace ks::upgrade
