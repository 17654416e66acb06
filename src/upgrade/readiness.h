// SPDX-License-Identifier: LGPL-2.1-or-later
// Reasons why a unit as a whole cannot be carried over, whatever its processes are made of. The engine finds
// those that lie in the processes.
#pragma once

#include <string>
#include <vector>

#include "engine/engine.h"
#include "upgrade/systemd/unit_state.h"

namespace ks::upgrade {

// Of a running unit, in its sandbox: its main process, if systemd knows that. 0: it has ended.
pid_t process_of(const UnitState& unit);
bool is_running(const UnitState& unit);

// Why a unit cannot be marked at all: unknown, masked, not loadable. Empty: it can.
std::string unmarkable(const UnitState& unit);

std::vector<engine::Reason> unit_reasons(const UnitState& unit);

// A dumped PID that lies where the new kernel's own threads will be would be taken. `floor_raised`: this boot
// began above the floor, so that a restart of the unit is remedy enough.
std::vector<engine::Reason> pid_reasons(pid_t lowest, bool floor_raised);

}  // namespace ks::upgrade
