// SPDX-License-Identifier: LGPL-2.1-or-later
// System V IPC (sysvipc(7)): objects that belong to no process, but to a namespace, and end with the kernel.
#pragma once

#include "base/result.h"
#include "engine/context/dumping.h"
#include "engine/context/ipc_guard.h"
#include "engine/context/restoring.h"
#include "engine/namespaces.pb.h"
#include "engine/system_v.pb.h"

namespace ks::engine {

inline constexpr const char* kSystemVFile = "system-v.ks";
inline constexpr std::string_view kSystemVKind = "system-v";
inline constexpr uint32_t kSystemVVersion = 1;

// Finds out which objects are the target's, and refuses those of which nobody can tell, or that others use too.
Result<image::SystemV> survey_system_v(Dumping& dumping, const image::Namespaces& namespaces);

// Queues and semaphores as they were, but for what only processes can do to them. Queues that are there already, as
// after a swap that did not happen, are taken out of `all`.
Result<> remake_system_v(image::SystemV& all, const MadeNamespaces& namespaces, IpcGuard& guard);
// When they have done so.
Result<> finish_system_v(const image::SystemV& all, const MadeNamespaces& namespaces);

// The type of a message that a queue gets for a while, so that somebody can receive one.
int64_t passing_type(const image::SystemV::Queue& queue);
// Whether the last message of a queue is sent by the one who has sent it, rather than by the engine.
bool sends_last(const image::SystemV::Queue& queue);

}  // namespace ks::engine
