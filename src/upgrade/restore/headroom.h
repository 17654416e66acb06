// SPDX-License-Identifier: LGPL-2.1-or-later
// A unit's limits are meant for the service, and the restorer runs under them too: with CPUQuota=5% it would need
// twenty times as long, while the service is away, and where the service had all tasks that TasksMax= allows there
// would be none left.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ks::upgrade {

// The limits of a control group (cgroup-v2.rst), lifted while this object lives. What cannot be lifted stays: it is
// only slower then, or says itself what it lacks. If we are killed, so is the unit, and its control group goes.
class ControlGroupHeadroom {
 public:
  explicit ControlGroupHeadroom(const std::string& directory);
  ~ControlGroupHeadroom();
  ControlGroupHeadroom(const ControlGroupHeadroom&) = delete;

 private:
  struct Lifted {
    std::string path;
    std::vector<std::string> before;  // each to be written by itself
  };
  std::vector<Lifted> lifted_;
};

// Of this process: limits of resources and scheduling. The limits that a new user namespace would keep are left.
void take_own_headroom();

// What has to be written to lift a limit that reads so, line by line. Empty: it limits nothing. Pure.
std::vector<std::string> lifting(std::string_view file, std::string_view text);

}  // namespace ks::upgrade
