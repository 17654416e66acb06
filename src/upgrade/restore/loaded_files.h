// SPDX-License-Identifier: LGPL-2.1-or-later
// Files that have been brought back for a unit that does not run yet. What was there before them is on record, so
// that they can be taken away again should the restore fail, also by somebody else: the restorer itself can be
// killed.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/result.h"
#include "upgrade/machine.h"
#include "upgrade/swap_store.h"

namespace ks::upgrade {

// A file for each such unit.
inline const std::string kLoading = std::string(kRunDirectory) + "/loading";

// Returns what there is to tell: paths of files that others had made there first, and what could not be brought back.
struct LoadedFiles {
  std::vector<std::string> kept, failed;
};
Result<> begin_to_load(const Swap& swap, const CarriedUnit& unit, pid_t placeholder,
                       const std::string& records = kLoading);
Result<LoadedFiles> load_files(const Swap& swap, const CarriedUnit& unit, pid_t placeholder);
// The unit runs: they are its own now.
void keep_loaded(const CarriedUnit& unit, const std::string& records = kLoading);
// It starts afresh. Nothing on record is nothing to do. `placeholder`: 0 where there is none.
Result<> take_back_loaded(const Swap& swap, const CarriedUnit& unit, pid_t placeholder,
                          const std::string& records = kLoading);

}  // namespace ks::upgrade
