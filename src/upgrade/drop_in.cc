// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/drop_in.h"

#include <fmt/core.h>

namespace ks::upgrade {

uint64_t restore_limit_seconds(const CarriedUnit& unit) {
  constexpr uint64_t kSlowDisk = 20 << 20;  // bytes a second
  uint64_t bytes = unit.memory_bytes;
  for (const SavedPlace& place : unit.places) bytes += place.bytes;
  return 60 + bytes / kSlowDisk;
}

Result<std::string> restore_drop_in(const CarriedUnit& unit, std::string_view libexec) {
  std::string placeholder = fmt::format("{}/placeholder", libexec);
  // Where systemd does not know the main process, it is not to hold the placeholder for that.
  bool unknown = unit.main_pid == 0;
  std::string command = TRY(placeholder_command_line(unit.command, placeholder + (unknown ? " --fork" : "")));
  std::string text = "# Made by kernel-swap for the restore of this unit; gone once that is done.\n";
  // It runs: whether it should start was asked then, and of another boot.
  text += "[Unit]\nConditionPathExists=\nAssertPathExists=\n";
  // What it lifts has to be there before.
  if (!unit.held.empty()) text += "[Unit]\nAfter=kernel-swap-hold.service\n";
  // Also where nothing starts them at boot.
  for (const std::string& socket : unit.sockets) text += fmt::format("[Unit]\nWants={0}\nAfter={0}\n", socket);
  text += "[Service]\n";
  text += unknown ? "Type=forking\nGuessMainPID=no\n" : "Type=exec\n";
  // Of what it does not know it would leave the placeholder behind, were the start to fail.
  if (unknown) text += "KillMode=control-group\n";
  // The restorer speaks for the unit as its control process; a unit whose children speak too keeps that.
  text += fmt::format("NotifyAccess={}\n", unit.notify_access == "all" ? "all" : "exec");
  // The placeholder is no program that the profile knows; the restored processes enter theirs again.
  text += "AppArmorProfile=\n";
  // Left set, the start hangs waiting for it.
  text += "PIDFile=\nExecCondition=\nExecStartPre=\nExecStart=\n";
  text += fmt::format("ExecStart={}\n", command);
  text += "ExecStartPost=\n";
  text += fmt::format("ExecStartPost=+{}/restore %n{}\n", libexec, unknown ? "" : " --into $MAINPID");
  text += "SyslogIdentifier=";
  for (char c : unit.syslog_identifier) text += c == '%' ? std::string("%%") : std::string(1, c);
  text += '\n';
  if (unit.placeholder_not_executable) text += fmt::format("ExecPaths={}\n", placeholder);
  // The restorer keeps to its limit and then starts the unit afresh, for which the unit's own time is left.
  if (unit.start_timeout_seconds > 0)
    text += fmt::format("TimeoutStartSec={}s\n", unit.start_timeout_seconds + restore_limit_seconds(unit) + 30);
  return text;
}

}  // namespace ks::upgrade
