// SPDX-License-Identifier: LGPL-2.1-or-later
// Who has what below /run, at one moment. All processes of the machine are looked at, so not while one is frozen.
#pragma once

#include <sys/types.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"

namespace ks::upgrade {

// What a service says of itself in its unit file, running or not.
struct ServiceClaim {
  std::string unit, user, pid_file;
  std::vector<std::string> runtime_directories;  // below /run
};

struct RunSurvey {
  struct Process {
    std::set<uid_t> users;
    std::set<std::string> homes;           // working and root directory
    std::set<std::string> written;         // files that are open for writing
    std::set<ino_t> open;                  // all that are open
    std::map<ino_t, std::string> sockets;  // bound there, by their own inodes
  };
  std::string run = "/run";
  std::set<dev_t> devices;  // of it, and of its directory for locks, which Debian mounts
  std::map<pid_t, Process> processes;
  // Files of which the first line is a number, as those are that tell a PID.
  std::map<std::string, pid_t> numbers;
};

Result<RunSurvey> survey_run(const std::string& run = "/run");

// `path` is `place` or lies below it.
bool lies_within(std::string_view path, std::string_view place);

}  // namespace ks::upgrade
