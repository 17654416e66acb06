// SPDX-License-Identifier: LGPL-2.1-or-later
// In which order a process tree has to be cloned so that every process ends in its session. Pure.
#pragma once

#include <sys/types.h>

#include <span>
#include <vector>

#include "base/result.h"

namespace ks::engine {

struct FamilyMember {
  pid_t pid = 0, parent = 0, group = 0, session = 0;
};

struct FamilyStep {
  enum class Action { clone, set_session } action;
  size_t member;
  bool operator==(const FamilyStep&) const = default;
};

// A session is entered by being cloned from a member of it, so a child that belongs to the session its parent has
// left since must be cloned before the parent leaves it. Members come parents first. A family that
// cannot be had this way (a session or group whose leader is gone) is a refusal.
Result<std::vector<FamilyStep>> plan_family(std::span<const FamilyMember> members);

}  // namespace ks::engine
