// SPDX-License-Identifier: LGPL-2.1-or-later
// What lies below /run and is a service's own, beside its RuntimeDirectory=. Nobody tells whose a file is; so it is
// decided by who has something there (ARCHITECTURE.md).
#pragma once

#include <set>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "upgrade/run_survey.h"
#include "upgrade/systemd/unit_state.h"
#include "upgrade/volatile.h"

namespace ks::upgrade {

struct RunFiles {
  std::vector<Place> places;               // those above others come first
  std::vector<engine::Reason> remarks;     // what is seen and stays behind
  std::vector<std::string> paths() const;  // of directories that come back as a whole, and of single files
};

// What the unit's mark says (kernel-swap-mark(5)).
struct RunWishes {
  std::vector<std::string> carry, leave;
};

// `pids`: all processes of the unit. `claims`: of all services.
RunFiles find_run_files(const RunSurvey& survey, std::span<const ServiceClaim> claims, const UnitState& unit,
                        const std::set<pid_t>& pids, const RunWishes& wishes);

}  // namespace ks::upgrade
