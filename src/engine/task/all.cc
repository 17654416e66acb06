// SPDX-License-Identifier: LGPL-2.1-or-later
#include <array>

#include "engine/task/room.h"

namespace ks::engine {

extern const TaskRoom kNamespaces, kSemaphoreUndo, kSystemVUse, kUserNamespace, kKeyrings, kConfinement, kMemory,
    kVdso, kLayout, kDescriptors, kDirectories, kThreadDirectories, kThreads, kScheduling, kSettings, kCredentials,
    kJobControl, kSeccomp, kStopReports, kTimers, kSignals;

std::span<const TaskRoom* const> all_task_rooms() {
  static constexpr std::array rooms = {
      &kNamespaces,  // while it may enter them
      &kSemaphoreUndo,
      &kSystemVUse,   // when nobody uses the objects any more
      &kMemory,       // first: it must be mapped before anything can point into it
      &kVdso,         // while its place is known to be free
      &kLayout,       // the executable, found among the mapped files
      &kDirectories,  // while it may look everywhere
      &kUserNamespace,
      &kKeyrings,
      &kThreads,  // early: files can lead to them
      &kThreadDirectories,
      &kDescriptors,  // from here on the engine's own descriptors are gone from the process
      &kJobControl,   // before the signals are queued that a stop, or its end, discards
      &kSettings,
      &kSeccomp,      // while it needs no no_new_privs yet
      &kCredentials,  // after all that needs privilege
      &kStopReports,  // late: all that are to be stopped are
      &kTimers,       // late: they begin to run
      &kSignals,      // late: so do interval timers
      &kScheduling,   // late: until here all share the engine's CPU
      &kConfinement,  // last: it may forbid anything
  };
  return rooms;
}

}  // namespace ks::engine
