// SPDX-License-Identifier: LGPL-2.1-or-later
// POSIX message queues (mq_overview(7)) that no process of the target has open: they have names, and live in a
// namespace of IPC, which ends with the kernel.
#pragma once

#include "base/result.h"
#include "engine/context/dumping.h"

namespace ks::engine {

// Refuses those that are the target's, or may be. When all open files have been dumped.
Result<> check_message_queues(Dumping& dumping);

}  // namespace ks::engine
