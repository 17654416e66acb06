// SPDX-License-Identifier: LGPL-2.1-or-later
// The half of a swap that one unit sees in the new kernel.
#pragma once

#include <sys/types.h>

#include "base/result.h"
#include "upgrade/swap_store.h"

namespace ks::upgrade {

// Puts the unit's processes into the place of the placeholder and makes systemd take them for the unit's own.
// On an error none of them is left, and the image will not be used again.
Result<> bring_back(const Swap& swap, const CarriedUnit& unit, pid_t placeholder);

}  // namespace ks::upgrade
