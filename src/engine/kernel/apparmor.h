// SPDX-License-Identifier: LGPL-2.1-or-later
// AppArmor's labels of tasks (apparmor.rst; /proc/PID/task/TID/attr/apparmor). A task can change its own alone, and
// unconfined ones, as we are, may enter every profile that is loaded.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace ks::engine {

struct AppArmorState {
  std::string profile;   // empty: unconfined. "named", "a//b" for a profile within one
  std::string previous;  // in a hat: the profile to which it may go back (aa_change_hat(2))
  std::string at_exec;   // that it will enter then (aa_change_onexec(2))
};

// "named (enforce)\n": "named"; "unconfined\n": "". Pure.
std::string profile_of(std::string_view label);

// Nothing: the kernel is without AppArmor.
Result<std::optional<AppArmorState>> apparmor_state(pid_t pid, pid_t tid);

// Why no call can bring a task into this state. Empty: it can. Pure.
std::string why_not_enterable(const AppArmorState& state);

}  // namespace ks::engine
