// SPDX-License-Identifier: LGPL-2.1-or-later
#include <array>

#include "engine/task/room.h"

namespace ks::engine {

extern const TaskRoom kMemory, kVdso, kLayout, kDescriptors, kDirectories, kThreads, kScheduling, kSettings,
    kCredentials, kTimers, kSignals;

std::span<const TaskRoom* const> all_task_rooms() {
  static constexpr std::array rooms = {
      &kMemory,       // first: it must be mapped before anything can point into it
      &kVdso,         // while its place is known to be free
      &kLayout,       // the executable, found among the mapped files
      &kThreads,      // early: files can lead to them
      &kDescriptors,  // from here on the engine's own descriptors are gone from the process
      &kDirectories, &kSettings,
      &kCredentials,  // after all that needs privilege
      &kTimers,       // late: they begin to run
      &kSignals,      // late: so do interval timers
      &kScheduling,   // late: until here all share the engine's CPU
  };
  return rooms;
}

}  // namespace ks::engine
