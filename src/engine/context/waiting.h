// SPDX-License-Identifier: LGPL-2.1-or-later
// Where a target that runs waits for others.
#pragma once

#include <sys/types.h>

#include <span>

#include "base/result.h"
#include "engine/context/verdict.h"

namespace ks::engine {

// Of both, processes that end meanwhile are passed over.
bool have_sockets(std::span<const pid_t> pids);  // of any kind
// In our network namespace alone.
Result<WaitingSockets> find_waiting(std::span<const pid_t> pids);

}  // namespace ks::engine
