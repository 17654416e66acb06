// SPDX-License-Identifier: LGPL-2.1-or-later
// A unit whose image cannot be used starts afresh, in the start job that is already under way.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/result.h"
#include "upgrade/manifest.h"

namespace ks::upgrade {

// Whether the unit's own command in the placeholder's place is all there is to its start, and its directories
// are as empty as it expects them. Other units want their ExecStartPre= and ExecStartPost=, have conditions, or
// say themselves when they are ready; for them the job is run anew without our drop-in.
bool starts_by_its_command_alone(const CarriedUnit& unit);

// Ends every process of the unit but ourselves and the placeholder, and removes the control groups that are then
// empty.
Result<> clear_control_group(pid_t placeholder);

// The image must have been withdrawn. `unit` may be null: nothing is known of it any more.
Result<> start_cold(const CarriedUnit* unit, pid_t placeholder);

}  // namespace ks::upgrade
