// SPDX-License-Identifier: LGPL-2.1-or-later
// The end of a swap: every unit has been restored or has started afresh, and nothing of ours stays behind.
#pragma once

#include "base/result.h"
#include "upgrade/swap_store.h"
#include "upgrade/systemd/bus.h"

namespace ks::upgrade {

// No more than a look at a directory where no swap is open.
Result<> settle(const SwapStore& store);

}  // namespace ks::upgrade
