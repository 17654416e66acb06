// SPDX-License-Identifier: LGPL-2.1-or-later
// Places of a unit that systemd makes anew, and empty, at every start: what a service has put there would be gone.
#pragma once

#include <string>
#include <vector>

#include "engine/engine.h"
#include "upgrade/systemd/unit_state.h"

namespace ks::upgrade {

// A reason for each such place that holds anything. `root` is the unit's root directory as we see it.
std::vector<engine::Reason> volatile_reasons(const UnitState& unit, const std::string& root);

}  // namespace ks::upgrade
