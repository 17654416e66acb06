// SPDX-License-Identifier: LGPL-2.1-or-later
// In which order a process tree has to be cloned so that every process ends under its parent, in its session
// and in its process group. Pure.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"

namespace ks::engine {

struct FamilyMember {
  pid_t pid = 0, parent = 0, group = 0, session = 0;
  // One of those with whom it shares its memory or its signal handlers, the same for all of them; 0: nobody.
  pid_t memory = 0, handlers = 0;
  int exit_signal = 0;
};

// A step may concern a passing process, which is made only to be there for a while and ends before the last
// step: a leader that is gone, under its own PID, or one under a negative number, whose PID does not matter.
struct FamilyStep {
  enum class Action {
    clone,        // by `other`; 0: by somebody outside of the family
    set_session,  // setsid(2)
    set_group,    // setpgid(2) to `other`
    end,          // of a passing process; its children fall to `other`, 0: to somebody outside
  } action;
  pid_t who = 0, other = 0;
  // Of a clone: CLONE_VM, CLONE_SIGHAND, and CLONE_PARENT, which makes it a sibling of `other`.
  uint64_t flags = 0;
  bool operator==(const FamilyStep&) const = default;
};

// Members come parents first. A session is entered only by being cloned from a member of it, so
// - a child that belongs to the session its parent has left since is cloned before the parent leaves it;
// - one that has come to its parent as an orphan is cloned by a passing process in the session;
// - a session whose leader is gone gets a passing leader.
// Who shares memory is cloned by one who has it (memory_sharing.h).
// A family that cannot be had this way is a refusal.
Result<std::vector<FamilyStep>> plan_family(std::span<const FamilyMember> members);

// Sessions and process groups whose leader is not among the members.
std::vector<pid_t> lost_leaders(std::span<const FamilyMember> members);

}  // namespace ks::engine
