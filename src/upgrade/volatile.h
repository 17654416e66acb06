// SPDX-License-Identifier: LGPL-2.1-or-later
// Directories that systemd makes anew, and empty, for each start of a unit: RuntimeDirectory=, and /tmp and
// /var/tmp of PrivateTmp=. What lies in them goes with the unit, beside its image. Files come back as other
// inodes of the same name: one that is open is opened again, one that is mapped is a reason against.
#pragma once

#include <sys/types.h>

#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "upgrade/manifest.h"
#include "upgrade/systemd/unit_state.h"

namespace ks::upgrade {

// As the unit sees them; none lies in another.
std::vector<std::string> volatile_places(const UnitState& unit);

// Asked for while the unit is frozen. `pids`: all of its processes.
std::vector<engine::Reason> place_reasons(const UnitState& unit, std::span<const pid_t> pids);
// The one reason of a dump that does not take them along.
std::vector<engine::Reason> loss_reasons(const UnitState& unit);

// Of what lies there now, on disk.
Result<uint64_t> measure_places(const UnitState& unit);

// Copies them, as they are now, below a directory that this makes; all of it is on disk when it returns.
Result<std::vector<SavedPlace>> save_places(std::span<const std::string> places, pid_t pid,
                                            const std::string& directory);

// Into the places of process `pid`, which systemd has just made; every checksum is compared before anything
// is written. Returns the paths of files that somebody else had made there first: they stay.
Result<std::vector<std::string>> load_places(std::span<const SavedPlace> places, pid_t pid,
                                             const std::string& directory);

}  // namespace ks::upgrade
