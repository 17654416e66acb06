// SPDX-License-Identifier: LGPL-2.1-or-later
// Directories that are empty or gone when a unit is started again: those that systemd makes anew (RuntimeDirectory=,
// and /tmp and /var/tmp of PrivateTmp=), and after a boot what the unit has below /run otherwise (run_files.h). What
// lies in them goes with the unit, beside its image. Files come back as other inodes of the same name: those that are
// open the engine fills again; on a disk, one that is mapped is a reason against.
#pragma once

#include <sys/types.h>

#include <set>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "upgrade/file_tree.h"
#include "upgrade/manifest.h"
#include "upgrade/systemd/unit_state.h"

namespace ks::upgrade {

struct Place {
  std::string path;
  bool of_systemd = true;  // the path is as the unit sees it, and ours otherwise
  bool whole = true;       // or what `part` says, in a directory of others
  Part part;               // of a whole one: all but some
};

// Those of systemd, as the unit sees them; none lies in another.
std::vector<std::string> volatile_places(const UnitState& unit);
std::vector<Place> as_places(std::span<const std::string> of_systemd);

// Asked for while the unit is frozen. `pids`: all of its processes.
std::vector<engine::Reason> place_reasons(const UnitState& unit, std::span<const Place> places,
                                          std::span<const pid_t> pids);
// The one reason of a dump that does not take them along.
std::vector<engine::Reason> loss_reasons(const UnitState& unit);

// Of what lies there now, on disk. `pid`: who sees the places of systemd.
Result<uint64_t> measure_places(std::span<const Place> places, pid_t pid);

// Copies them, as they are now, below a directory that this makes.
Result<std::vector<SavedPlace>> save_places(std::span<const Place> places, pid_t pid, const std::string& directory);

// Returns when all that has been copied below it is on disk: once for all units, which are frozen meanwhile.
Result<> sync_saved(const std::string& directory);

// What is there before they come back, by the order of the places.
struct FoundThere {
  bool place = false;
  std::set<std::string> paths;  // below it
};
Result<std::vector<FoundThere>> find_there(std::span<const SavedPlace> places, pid_t pid,
                                           const std::string& directory);

// Into the places as process `pid` sees them, and ours; every checksum is compared before anything is written.
// Returns the paths of files that somebody else had made there first: they stay. What cannot come back into a
// directory of others is told in `failed`; a file there is not worth a restore.
Result<std::vector<std::string>> load_places(std::span<const SavedPlace> places, pid_t pid,
                                             const std::string& directory, std::vector<std::string>& failed);

// Takes them away again: a unit that starts afresh is to find nothing of its former life.
Result<> unload_places(std::span<const SavedPlace> places, pid_t pid, const std::string& directory,
                       std::span<const FoundThere> found);

}  // namespace ks::upgrade
