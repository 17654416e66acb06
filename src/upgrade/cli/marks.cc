// SPDX-License-Identifier: LGPL-2.1-or-later
// list, enable, disable
#include <fmt/core.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>

#include "base/file.h"
#include "upgrade/candidate.h"
#include "upgrade/cli/verbs.h"
#include "upgrade/json.h"
#include "upgrade/readiness.h"
#include "upgrade/unit_name.h"

namespace ks::upgrade {

namespace {

constexpr char kDropIn[] =
    "# Made by \"kernel-swap enable\", removed by \"kernel-swap disable\".\n"
    "[X-KernelSwap]\nCheckpoint=yes\n";

std::string drop_in_of(const std::string& unit) { return "/etc/systemd/system/" + unit + ".d/50-kernel-swap.conf"; }

Result<> write_mark(const std::string& unit) {
  std::filesystem::path path = drop_in_of(unit);
  std::error_code error;
  std::filesystem::create_directories(path.parent_path(), error);
  if (error) return fail(path.parent_path().string() + ": " + error.message(), error.value());
  return replace_file(path, kDropIn, 0644);
}

// Before any is touched.
Result<std::vector<Candidate>> resolve(const Bus& bus, const std::vector<std::string>& words) {
  std::vector<Candidate> candidates;
  for (const std::string& word : words) {
    std::string name = TRY(parse_service_name(word));
    Candidate one = TRY(candidate(bus, name));
    if (std::string why = unmarkable(one.unit); !why.empty()) return fail(name + ": " + why);
    candidates.push_back(std::move(one));
  }
  return candidates;
}

}  // namespace

Result<int> run(const List& list) {
  Bus bus = TRY(Bus::open());
  MarkedUnits marked = TRY(marked_units(bus));
  Json units = Json::array();
  for (const Candidate& one : marked.units) {
    if (!list.json) {
      fmt::print("{}  {} ({})  {}\n", one.unit.name, one.unit.active_state, one.unit.sub_state, one.mark.file);
      continue;
    }
    Json entry = Json::object();
    entry.set("unit", one.unit.name)
        .set("active_state", one.unit.active_state)
        .set("sub_state", one.unit.sub_state)
        .set("mark", one.mark.file)
        .set("external_sockets", one.mark.reset_external_sockets ? "reset" : "refuse")
        .set("network_settings", one.mark.leave_network_settings ? "leave" : "refuse");
    units.add(std::move(entry));
  }
  if (list.json) fmt::print("{}", units.text());
  for (const std::string& error : marked.errors) fmt::print(stderr, "{}\n", error);
  return marked.errors.empty() ? kDone : kFailed;
}

Result<int> run(const Enable& enable) {
  Bus bus = TRY(Bus::open());
  auto candidates = TRY(resolve(bus, enable.units));
  for (const Candidate& one : candidates) TRY(write_mark(one.unit.name));
  TRY(bus.reload());
  for (const Candidate& one : candidates) {
    Candidate now = TRY(candidate(bus, one.unit.name));
    if (!now.mark.checkpoint) return fail(fmt::format("{}: {} says Checkpoint=no", one.unit.name, now.mark.file));
  }
  return kDone;
}

Result<int> run(const Disable& disable) {
  Bus bus = TRY(Bus::open());
  std::vector<std::string> names;
  for (const std::string& word : disable.units) {
    UnitState unit = TRY(bus.unit(TRY(parse_service_name(word))));
    // The mark of a unit that is no longer installed can be taken away all the same.
    if (unit.load_state == "not-found" && ::access(drop_in_of(unit.name).c_str(), F_OK))
      return fail(unit.name + ": no such unit");
    names.push_back(unit.name);
  }
  for (const std::string& name : names) {
    std::string path = drop_in_of(name);
    if (::unlink(path.c_str()) && errno != ENOENT) return fail_errno(path);
    ::rmdir(std::filesystem::path(path).parent_path().c_str());  // unless something else is in it
  }
  TRY(bus.reload());
  int status = kDone;
  for (const std::string& name : names) {
    Candidate now = TRY(candidate(bus, name));
    if (!now.mark.checkpoint) continue;
    fmt::print(stderr, "{}: still marked by {}\n", name, now.mark.file);
    status = kFailed;
  }
  return status;
}

}  // namespace ks::upgrade
