// SPDX-License-Identifier: LGPL-2.1-or-later
// Processes that are in a user namespace from birth (target/births.h): all that a restore does in them has to be
// allowed there. What would not be is found by a dump.
#pragma once

#include "base/result.h"
#include "engine/context/dumping.h"
#include "engine/context/restoring.h"
#include "engine/namespaces.pb.h"
#include "engine/system_v.pb.h"
#include "engine/target/inside_ids.h"

namespace ks::engine {

// Refuses what could not be given to them again.
Result<> check_born_inside(Dumping& dumping, const image::Namespaces& namespaces, const image::SystemV& system_v);

// Working and root directory, by which a process comes to be where it may not go by itself.
Result<bool> has_same_directories(pid_t one, pid_t other);

// Users and groups of one who has been born inside, by our numbers. Capabilities stay.
Result<> take_ids_inside(RemoteCalls& calls, const RemoteMemory& memory, RemoteAddress scratch, const Ids& to);
Ids ids_of(const Status& status);

}  // namespace ks::engine
