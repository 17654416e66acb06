// SPDX-License-Identifier: LGPL-2.1-or-later
// Lets a stopped thread go on a little and stops it again; its registers, mask and extended state are read anew.
// Signals on the way reach it.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "base/result.h"
#include "engine/target/process.h"

namespace ks::engine {

// Reads the registers. A call that a stop alone has ended with EINTR will be made again from here on.
Result<> take_registers(StoppedThread& thread);

// Until the stop that has been asked for.
Result<> await_stop(StoppedThread& thread);
Result<> run_and_stop(StoppedThread& thread, std::chrono::microseconds run);
// From a stop to the next without an instruction of the program between: the one asked for is due at once.
Result<> stop_anew(StoppedThread& thread);
// Goes into the system call that it is about to make, and on to its end or to where it sleeps; `asleep` is called
// there. Where in the kernel that is; empty: the call has ended.
Result<std::string> follow_call(const StoppedProcess& process, StoppedThread& thread,
                                const std::function<Result<>()>& asleep = {});

}  // namespace ks::engine
