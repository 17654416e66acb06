// SPDX-License-Identifier: LGPL-2.1-or-later
// Brings a thread that has just been stopped to where its state can be read and carried.
#pragma once

#include <span>
#include <vector>

#include "base/result.h"
#include "engine/target/process.h"

namespace ks::engine {

// A thread inside the vDSO leaves it; one inside a restartable sequence is moved to its abort handler, as any
// preemption would (rseq(2)); a call that restarts from a restart block is named by the registers. They are then
// those that it goes on with, and nothing has been called in it yet. True: it has run on for that. A thread that job
// control has stopped never does.
Result<bool> settle(StoppedProcess& process, StoppedThread& thread, std::span<const Vma> vdso_texts);

// Where the vDSO's code is; after a swap also where it was, with jumps to where it is now.
Result<std::vector<Vma>> vdso_texts(const StoppedProcess& process);

}  // namespace ks::engine
