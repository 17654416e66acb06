// SPDX-License-Identifier: LGPL-2.1-or-later
// What the service manager says of a unit: the properties of org.freedesktop.systemd1(5) that we use.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "upgrade/command.h"

namespace ks::upgrade {

struct UnitState {
  std::string name;  // its primary one, whatever alias was asked for
  std::string load_state, active_state, sub_state;
  std::string fragment;
  std::vector<std::string> drop_ins;
  std::vector<std::string> on_failure;
  std::vector<std::string> sockets;  // .socket units that hand it theirs

  // Of a loaded service only.
  std::string pid_file;  // PIDFile=
  std::string type, notify_access, syslog_identifier, control_group;
  pid_t main_pid = 0, control_pid = 0;
  std::vector<Command> start;
  // Than its command: ExecStartPre=, ExecStartPost=, ExecCondition=, conditions, assertions, AppArmorProfile=.
  bool has_more_at_start = false;
  bool has_watchdog = false;
  bool stops_at_shutdown = true;
  bool has_stop_commands = false;      // ExecStop= or ExecStopPost=
  uint64_t start_timeout_seconds = 0;  // 0: none
  int32_t syslog_priority = 30;        // LOG_DAEMON | LOG_INFO
  bool syslog_level_prefix = true;
  bool dynamic_user = false;
  std::string root_directory, root_image;
  std::vector<std::string> runtime_directories;
  bool private_tmp = false;
  uint32_t stored_descriptors = 0;
};

}  // namespace ks::upgrade
