// SPDX-License-Identifier: LGPL-2.1-or-later
// A part of what a process is. Each room knows both directions and its own schema; rooms do not know each other.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"
#include "engine/context/dumping.h"
#include "engine/context/restoring.h"

namespace ks::engine {

struct TaskRoom {
  std::string_view name;
  uint32_t version;
  // Puts one envelope, and refuses what it cannot carry. Changes nothing in the process.
  Result<> (*dump)(Dumping&, DumpedProcess&, const TaskRoom&);
  // In a process that has been cloned, and that all rooms before it have furnished.
  Result<> (*restore)(Restoring&, RestoredProcess&, const TaskRoom&);
};

// In the order of restoring; dumping takes it too. The first ones, the early ones among which these are, and all but
// the last ones, are restored in every process before the others are in any.
inline constexpr size_t kFirstRooms = 2;
inline constexpr size_t kEarlyRooms = 11;
inline constexpr size_t kLateRooms = 5;
std::span<const TaskRoom* const> all_task_rooms();

// Working and root directory of a process, by the one who is to hand them on to it.
Result<> restore_directories(Restoring& restoring, RestoredProcess& process);

// RLIMIT_SIGPENDING, once all signals are queued and all timers made, which count. They may be more than it allows:
// others of the same user have some too, and it may have been lowered since.
Result<> limit_signals(RestoredProcess& process);

}  // namespace ks::engine
