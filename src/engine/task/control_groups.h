// SPDX-License-Identifier: LGPL-2.1-or-later
// Control groups below the one of the unit (systemd's Delegate=), in every hierarchy: made again, with those in them
// who were. What they hold of settings is refused as long as it is that of a controller.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/context/dumping.h"
#include "engine/control_groups.pb.h"

namespace ks::engine {

inline constexpr const char* kControlGroupsFile = "control-groups.ks";
inline constexpr std::string_view kControlGroupsKind = "control-groups";
inline constexpr uint32_t kControlGroupsVersion = 1;

// `unit` is the directory of the unit's group in the unified hierarchy; where it is empty, and in other hierarchies,
// it is that of the first process.
Result<image::ControlGroups> survey_control_groups(Dumping& dumping, const std::string& unit);

// The groups of an image, which vanish with this object unless they are kept.
class MadeControlGroups {
 public:
  // Below the groups that `like` is in; of the unified hierarchy below the directory `unit`, unless that is empty.
  static Result<MadeControlGroups> make(const image::ControlGroups& wanted, pid_t like, const std::string& unit);
  MadeControlGroups(MadeControlGroups&&) noexcept = default;
  MadeControlGroups& operator=(MadeControlGroups&&) = delete;
  ~MadeControlGroups();

  // Into the groups that stand for the unit's.
  Result<> enter(pid_t pid) const;
  // All into their own, when the threads are there.
  Result<> distribute(const image::ControlGroups& wanted) const;
  void keep() { made_.clear(); }

 private:
  MadeControlGroups() = default;
  Result<std::string> directory(const std::string& hierarchy, const std::string& path) const;

  std::map<std::string, std::string> bases_;  // directories, by hierarchy
  std::vector<std::string> made_;
};

}  // namespace ks::engine
