// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/candidate.h"

#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "base/backoff.h"
#include "base/open_resolved.h"
#include "upgrade/config.h"
#include "upgrade/hold/table.h"
#include "upgrade/machine.h"
#include "upgrade/readiness.h"
#include "upgrade/tmpfiles.h"
#include "upgrade/unit_files.h"
#include "upgrade/unit_name.h"
#include "upgrade/unit_root.h"
#include "upgrade/volatile.h"

namespace ks::upgrade {

Result<Candidate> candidate(const Bus& bus, const std::string& unit) {
  Candidate candidate;
  candidate.unit = TRY(bus.unit(unit));
  candidate.mark = TRY(read_mark(candidate.unit.fragment, candidate.unit.drop_ins));
  return candidate;
}

Result<MarkedUnits> marked_units(const Bus& bus) {
  MarkedNames found = find_marked(unit_directories());
  MarkedUnits marked{.units = {}, .errors = std::move(found.errors)};
  std::set<std::string> names;
  for (const std::string& name : found.names) {
    size_t stem = name.size() - std::string_view(".service").size();
    if (!is_template(name) && !name.substr(0, stem).ends_with('-')) {
      names.insert(name);
      continue;
    }
    // Instances of the template, or the units that share the prefix.
    for (const std::string& loaded : TRY(bus.units_like(name.substr(0, stem) + "*.service"))) names.insert(loaded);
  }
  std::set<std::string> seen;  // several names may mean one unit
  for (const std::string& name : names) {
    auto one = candidate(bus, name);
    if (!one)
      marked.errors.push_back(one.error().what);
    else if (one->mark.checkpoint && seen.insert(one->unit.name).second)
      marked.units.push_back(std::move(*one));
  }
  return marked;
}

std::vector<Place> Candidate::places() const {
  auto places = as_places(volatile_places(unit));
  places.insert(places.end(), run.places.begin(), run.places.end());
  return places;
}

Result<> look_below_run(const Bus& bus, std::span<Candidate> candidates) {
  RunSurvey survey = TRY(survey_run());
  auto claims = TRY(bus.claims());
  for (Candidate& one : candidates) {
    if (!is_running(one.unit)) continue;
    auto pids = TRY(cgroup_processes(one.unit.control_group));
    one.run = find_run_files(survey, claims, one.unit, {pids.begin(), pids.end()},
                             {.carry = one.mark.carry_paths, .leave = one.mark.leave_paths});
  }
  return {};
}

std::vector<engine::Reason> left_below_run(const RunSurvey& survey, const UnitState& unit,
                                           std::span<const pid_t> pids) {
  RunFiles files = find_run_files(survey, {}, unit, {pids.begin(), pids.end()}, {});
  for (const std::string& path : files.paths())
    if (lies_within(path, survey.run))
      files.remarks.push_back(
          {0, path, "is no part of the image, but for sockets and what is open; a boot empties /run"});
  return std::move(files.remarks);
}

std::string syslog_identifier(const UnitState& unit) {
  if (!unit.syslog_identifier.empty() || unit.start.empty()) return unit.syslog_identifier;
  const std::string& path = unit.start.front().path;
  return path.substr(path.rfind('/') + 1);
}

engine::Target target_of(const UnitState& unit) { return {.cgroup = kCgroupRoot + unit.control_group}; }

engine::DumpOptions dump_options(const Candidate& candidate) {
  const UnitState& unit = candidate.unit;
  static const auto emptied = emptied_at_boot();
  engine::DumpOptions options{.foreign_namespaces = true,
                              .refilled = volatile_places(unit),
                              .emptied = emptied,
                              .made_anew = {"/run"},
                              .journal = {.unit = unit.name,
                                          .identifier = syslog_identifier(unit),
                                          .priority = unit.syslog_priority,
                                          .level_prefix = unit.syslog_level_prefix},
                              .no_hold = "only a swap does",
                              .starter = unit.sockets.empty() ? 0 : 1,
                              .reset_external_sockets = candidate.mark.reset_external_sockets,
                              .leave_network_settings = candidate.mark.leave_network_settings};
  for (std::string& path : candidate.run.paths()) options.refilled.push_back(std::move(path));
  if (candidate.mark.largest_deleted_file) options.largest_deleted_file = *candidate.mark.largest_deleted_file;
  return options;
}

engine::DumpOptions swap_options(const Candidate& candidate, const engine::NextKernel& next) {
  engine::DumpOptions options = dump_options(candidate);
  options.next_kernel = next;
  if (auto can_hold = HoldTable::probe())
    options.hold = [](auto) { return Result<>(); };
  else
    options.no_hold = can_hold.error().what;
  return options;
}

Result<bool> placeholder_is_executable(const UnitState& unit) {
  constexpr char kPlaceholder[] = KS_LIBEXEC "/placeholder";
  Fd root = TRY(unit_root(process_of(unit)));
  Fd placeholder = TRY(in("not to be seen from inside the unit's sandbox",
                          open_resolved(root.get(), kPlaceholder, O_PATH, RESOLVE_IN_ROOT)));
  struct statvfs status{};
  if (::fstatvfs(placeholder.get(), &status)) return fail_errno(kPlaceholder);
  return !(status.f_flag & ST_NOEXEC);
}

std::vector<engine::Reason> group_reasons(const Candidate& candidate) {
  const UnitState& unit = candidate.unit;
  auto pids = cgroup_processes(unit.control_group);
  if (!pids) return {{0, "control group", pids.error().what}};
  if (pids->empty()) return {{0, "control group", "no process is left in it"}};
  auto reasons = pid_reasons(std::ranges::min(*pids), ::access(kPidFloorFlag, F_OK) == 0);
  for (engine::Reason& reason : place_reasons(unit, candidate.places(), *pids)) reasons.push_back(std::move(reason));
  if (auto usable = placeholder_is_executable(unit); !usable) reasons.push_back({0, "sandbox", usable.error().what});
  return reasons;
}

std::vector<engine::Reason> remembered_reasons(const engine::DumpReport& report) {
  if (report.remembered.empty()) return {};
  return pid_reasons(std::ranges::min(report.remembered), ::access(kPidFloorFlag, F_OK) == 0);
}

bool has_read_all(const engine::Engine& engine, const UnitState& unit) {
  auto waiting = engine.waiting(target_of(unit));
  return !waiting || waiting->unread == 0;
}

bool may_pass(const Error& error) {
  return is_for_now(error.what) || error.code == EAGAIN || error.code == EINTR || error.code == ESRCH;
}

engine::Reason failure(std::string act, const Error& error) {
  return {0, std::move(act), may_pass(error) ? for_now(error.what) : error.what};
}

engine::Verdict examine_once(const engine::Engine& engine, const Candidate& candidate,
                             const engine::DumpOptions& options) {
  auto frozen = engine.freeze(target_of(candidate.unit));
  if (!frozen) return {.reasons = {failure("freeze", frozen.error())}, .remarks = {}};
  engine::Verdict verdict{.reasons = group_reasons(candidate), .remarks = {}};
  auto report = frozen->examine(options);
  verdict.remarks = frozen->verdict().remarks;
  verdict.remarks.insert(verdict.remarks.end(), candidate.run.remarks.begin(), candidate.run.remarks.end());
  if (report) {
    for (engine::Reason& reason : remembered_reasons(*report)) verdict.reasons.push_back(std::move(reason));
    return verdict;
  }
  if (frozen->verdict().ready()) verdict.reasons.push_back(failure("dump", report.error()));
  for (const engine::Reason& reason : frozen->verdict().reasons) verdict.reasons.push_back(reason);
  return verdict;
}

engine::Verdict examine(const engine::Engine& engine, const Candidate& candidate, const engine::NextKernel& next) {
  const UnitState& unit = candidate.unit;
  engine::Verdict verdict{.reasons = unit_reasons(unit), .remarks = {}};
  if (!verdict.ready()) return verdict;
  auto options = swap_options(candidate, next);  // not while it is frozen
  engine.prepare(target_of(unit), next);
  // A moment that is better than others, on a busy server; a swap has at least the same patience.
  Backoff queues(Backoff::Clock::now() + kPatience, kShortestPause, kShortestPause);
  while (!has_read_all(engine, unit) && queues.pause()) {
  }
  Backoff patience(Backoff::Clock::now() + kPatience, kShortestPause, kLongestPause);
  do verdict = examine_once(engine, candidate, options);
  while (engine::are_for_now(verdict.reasons) && patience.pause());
  return verdict;
}

std::string reason_line(const std::string& unit, const engine::Reason& reason) {
  return unit + ": " + engine::to_string(reason);
}

}  // namespace ks::upgrade
