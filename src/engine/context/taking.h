// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.h"
#include "engine/context/restoring.h"

namespace ks::engine {

// A process takes an open file of ours that nobody can send it (SCM_RIGHTS): its number there. Not in a namespace of
// users or PIDs of its own.
Result<uint64_t> take_from_us(RestoredProcess& process, int fd);

}  // namespace ks::engine
