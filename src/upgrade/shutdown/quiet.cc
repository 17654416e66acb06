// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/shutdown/quiet.h"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>

#include "base/file.h"

namespace ks::upgrade {

namespace {

constexpr char kText[] =
    "# Made by kernel-swap: the unit is carried over to the next kernel.\n"
    "[Service]\nSuccessExitStatus=SIGKILL\nExecStop=\nExecStopPost=\nWatchdogSec=0\n";

constexpr std::string_view kUnits = "/run/systemd/system", kSuffix = ".d";

std::string drop_in_of(std::string_view unit) {
  return fmt::format("{}/{}{}/99-kernel-swap-stop.conf", kUnits, unit, kSuffix);
}

}  // namespace

Result<> keep_systemd_quiet(const Bus& bus, const std::vector<Candidate>& units) {
  bool any = false;
  for (const Candidate& one : units) {
    if (one.unit.on_failure.empty() && !one.unit.has_stop_commands && !one.unit.has_watchdog) continue;
    std::filesystem::path path = drop_in_of(one.unit.name);
    std::error_code error;
    std::filesystem::create_directories(path.parent_path(), error);
    TRY(replace_file(path, kText, 0644));
    any = true;
  }
  if (!any) return {};
  return bus.reload();
}

Result<> let_systemd_speak(const Bus& bus, const std::vector<std::string>& units) {
  bool any = false;
  for (const std::string& unit : units) any |= ::unlink(drop_in_of(unit).c_str()) == 0;
  if (!any) return {};
  return bus.reload();
}

Result<> let_systemd_speak_of_others(const std::set<std::string>& carried) {
  auto names = list_directory(std::string(kUnits));
  if (!names) return {};  // nobody has ever made one
  std::vector<std::string> others;
  for (std::string_view name : *names) {
    if (!name.ends_with(kSuffix)) continue;
    std::string unit(name.substr(0, name.size() - kSuffix.size()));
    if (!carried.contains(unit) && ::access(drop_in_of(unit).c_str(), F_OK) == 0) others.push_back(unit);
  }
  if (others.empty()) return {};
  return let_systemd_speak(TRY(Bus::open()), others);
}

}  // namespace ks::upgrade
