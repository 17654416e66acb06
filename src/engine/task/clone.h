// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <span>

#include "base/result.h"
#include "engine/target/nested_pids.h"
#include "engine/target/remote_calls.h"
#include "engine/target/reserved_ids.h"

namespace ks::engine {

// clone3(2) made by another task. The child gets exactly these PIDs, of which the last is the one in our PID
// namespace, is ours from birth and waits; its state is the caller's.
Result<SeizedThread> remote_clone(RemoteCalls& caller, const RemoteMemory& memory, RemoteAddress scratch,
                                  uint64_t flags, int exit_signal, std::span<const pid_t> pids);

// The same where the caller may not choose all of them, and `numbers.pid` is reserved. `discard` ends one that has
// come under another.
Result<SeizedThread> remote_clone_in_turn(RemoteCalls& caller, const RemoteMemory& memory, RemoteAddress scratch,
                                          uint64_t flags, int exit_signal, const NewNumbers& numbers,
                                          ReservedIds& reserved,
                                          const std::function<Result<>(SeizedThread)>& discard);
// Of a thread that is not its process's leader.
Result<> end_thread(SeizedThread thread, const RemoteCalls& caller);

}  // namespace ks::engine
