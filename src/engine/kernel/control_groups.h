// SPDX-License-Identifier: LGPL-2.1-or-later
// Control groups (cgroups(7)): text of /proc. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ks::engine {

struct GroupMembership {
  std::string hierarchy;  // controllers of one of cgroup v1: "cpu,cpuacct", "name=systemd"; empty: cgroup v2
  std::string path;       // from the top of the hierarchy: "/system.slice/a.service"
  bool operator==(const GroupMembership&) const = default;
};

// /proc/PID/cgroup
Result<std::vector<GroupMembership>> parse_memberships(std::string_view text);

// Where all of a hierarchy is mounted, as /proc/PID/mountinfo tells; empty: nowhere.
std::string find_hierarchy(std::string_view mountinfo, std::string_view hierarchy);

// The way from one group to one below it, empty if they are the same; nothing if it is not below.
std::optional<std::string> path_below(std::string_view base, std::string_view path);

}  // namespace ks::engine
