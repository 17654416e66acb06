// SPDX-License-Identifier: LGPL-2.1-or-later
// What systemd does when a service dies, and must not do when we have killed it.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "upgrade/candidate.h"

namespace ks::upgrade {

// A drop-in below /run, gone with this boot, for the units that need one: a watchdog would bark at a service
// that is frozen for long; ExecStop= and ExecStopPost= clean up after a service that ends, and ours does not;
// OnFailure= tells of a failure, and there was none.
Result<> keep_systemd_quiet(const Bus& bus, const std::vector<Candidate>& units);
// For units that are to be stopped in the ordinary way after all.
Result<> let_systemd_speak(const Bus& bus, const std::vector<std::string>& units);
// The same for all but these, after somebody else has kept it quiet and ended early.
Result<> let_systemd_speak_of_others(const std::set<std::string>& carried);

}  // namespace ks::upgrade
