// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/shutdown/quiet.h"

#include <unistd.h>

#include <filesystem>

#include "base/file.h"

namespace ks::upgrade {

namespace {

constexpr char kText[] =
    "# Made by kernel-swap: the unit is carried over to the next kernel.\n"
    "[Service]\nSuccessExitStatus=SIGKILL\nExecStopPost=\nWatchdogSec=0\n";

std::string drop_in_of(const std::string& unit) {
  return "/run/systemd/system/" + unit + ".d/99-kernel-swap-stop.conf";
}

}  // namespace

Result<> keep_systemd_quiet(const Bus& bus, const std::vector<Candidate>& units) {
  bool any = false;
  for (const Candidate& one : units) {
    if (one.unit.on_failure.empty() && !one.unit.has_stop_post && !one.unit.has_watchdog) continue;
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

}  // namespace ks::upgrade
