// SPDX-License-Identifier: LGPL-2.1-or-later
// Marked units, and whether each can be carried over.
#pragma once

#include <chrono>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "upgrade/mark.h"
#include "upgrade/run_files.h"
#include "upgrade/systemd/bus.h"

namespace ks::upgrade {

struct Candidate {
  UnitState unit;
  Mark mark;
  RunFiles run;  // nothing before look_below_run()

  std::vector<Place> places() const;  // all that come back with it
};

// Of one unit, marked or not.
Result<Candidate> candidate(const Bus& bus, const std::string& unit);

struct MarkedUnits {
  std::vector<Candidate> units;
  std::vector<std::string> errors;  // of faulty marks, a line each
};
// Every unit that is marked, loaded or not.
Result<MarkedUnits> marked_units(const Bus& bus);

// What those that run have below /run. Looks at all processes of the machine; not while any of them is frozen.
Result<> look_below_run(const Bus& bus, std::span<Candidate> candidates);
// What an image made by hand leaves behind there.
std::vector<engine::Reason> left_below_run(const RunSurvey& survey, const UnitState& unit,
                                           std::span<const pid_t> pids);

// The name under which the journal files the unit's output: its own, or what systemd makes of its command.
std::string syslog_identifier(const UnitState& unit);

engine::Target target_of(const UnitState& unit);
// For an image made by hand: connections that lead outside are refused.
engine::DumpOptions dump_options(const Candidate& candidate);
// For a swap: with a hold that is none, where this machine can hold anything. Whoever dumps puts the real one there.
engine::DumpOptions swap_options(const Candidate& candidate, const engine::NextKernel& next);

// How long what may be gone in a moment is waited for, and the pauses between two looks at it.
inline constexpr std::chrono::seconds kPatience{2};
inline constexpr std::chrono::milliseconds kShortestPause{5}, kLongestPause{500};

// Whether the unit, which runs on, has accepted and read all that came to it from the network. What it has not, its
// dump refuses.
bool has_read_all(const engine::Engine& engine, const UnitState& unit);

// Not what a service is like, but what has come between.
bool may_pass(const Error& error);
// Why the engine could not do its work on a unit; `act` is what.
engine::Reason failure(std::string act, const Error& error);

// Freezes a unit that runs for as long as it takes to go through the dump without its memory.
engine::Verdict examine_once(const engine::Engine& engine, const Candidate& candidate,
                             const engine::DumpOptions& options);
// The same, and what lies in the unit itself; again, if only something stands in the way that may be gone in a
// moment.
engine::Verdict examine(const engine::Engine& engine, const Candidate& candidate, const engine::NextKernel& next);

// Whether the unit's sandbox lets systemd execute our placeholder, or it has to be mounted there; an error: it cannot
// even be seen.
Result<bool> placeholder_is_executable(const UnitState& unit);

// Reasons that lie in what the unit's control group holds now: best asked for while it is frozen.
std::vector<engine::Reason> group_reasons(const Candidate& candidate);

// PIDs of processes that have ended are needed once more, and may not be free then.
std::vector<engine::Reason> remembered_reasons(const engine::DumpReport& report);

// "UNIT: pid N: OBJECT: cause"
std::string reason_line(const std::string& unit, const engine::Reason& reason);

}  // namespace ks::upgrade
