// SPDX-License-Identifier: LGPL-2.1-or-later
// The drop-in that makes systemd start a unit as a placeholder for its image. The unit's sandbox is left as
// it is: what the restored processes find is what the unit file says.
#pragma once

#include <string>

#include "base/result.h"
#include "upgrade/manifest.h"

namespace ks::upgrade {

// Sorts behind every other drop-in, wherever that lies (systemd orders drop-ins by file name, not by
// directory).
inline constexpr std::string_view kRestoreDropIn = "99-kernel-swap.conf";

// How long a restore may take at most: part of the unit's start timeout, and the restorer's own limit.
uint64_t restore_limit_seconds(const CarriedUnit& unit);

Result<std::string> restore_drop_in(const CarriedUnit& unit, std::string_view libexec);

}  // namespace ks::upgrade
