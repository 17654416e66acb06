// SPDX-License-Identifier: LGPL-2.1-or-later
// The last acts of a restore.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/context/restoring.h"

namespace ks::engine {

// The threads that an image's process has, read from its rooms.
Result<std::vector<pid_t>> thread_ids(const std::map<std::string, Envelope>& rooms);

// Sleeps and other waits with a time-out taken up again. Then nobody needs the engine's scratch area any more.
Result<> resume_waits(Restoring& restoring, RestoredProcess& process);

// The engine's last page gone, every thread in its own state and still stopped.
Result<> prepare_thaw(Restoring& restoring, RestoredProcess& process);

// Lets every thread go.
Result<> thaw(RestoredProcess& process);

}  // namespace ks::engine
