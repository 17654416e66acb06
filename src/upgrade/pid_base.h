// SPDX-License-Identifier: LGPL-2.1-or-later
// Where the PIDs of a boot begin. Restored processes come back with their old PIDs, so no other process of
// the new boot may be given one of them before they are back: the kernel is made to count from a base above
// which, for a whole window, no dumped PID lies.
#pragma once

#include <sys/types.h>

#include <span>

namespace ks::upgrade {

inline constexpr pid_t kPidMax = 4194304;    // the kernel's own limit, PID_MAX_LIMIT
inline constexpr pid_t kPidWindow = 131072;  // more than any boot hands out before its services run
// Below it are the threads of the kernel and what runs before our generator does.
inline constexpr pid_t kPidFloor = kPidWindow;

// The base of a boot that is to take back `dumped` (PIDs, TIDs, sessions and groups). It lies above all of
// them, or, near the end of the numbers, wrapped round into the first window that holds none. 0 when every
// window holds one.
pid_t pid_base(std::span<const pid_t> dumped);

}  // namespace ks::upgrade
