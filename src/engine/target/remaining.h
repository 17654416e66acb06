// SPDX-License-Identifier: LGPL-2.1-or-later
// What is left of a wait with a relative time-out. The kernel keeps it in a restart block, which nobody can read, and
// forgets it with the process.
#pragma once

#include <sys/syscall.h>
#include <sys/types.h>

#include <optional>

#include "base/result.h"
#include "engine/target/process.h"

namespace ks::engine {

// Of poll(2), futex(2) and sleeps that do not tell what is left themselves. The thread goes back into its wait, and
// the timer that is in /proc/timer_list just as long is its own. Sets wait_left where that is found; short waits are
// not worth it. True: it has run.
Result<bool> measure_wait(const StoppedProcess& process, StoppedThread& thread);

inline bool is_event_wait(long number) { return number == SYS_epoll_wait || number == SYS_epoll_pwait; }

// epoll_wait(2) has no restart block: a stop ends it. So when it began is looked up before: then the thread had run
// last. Nothing: it does not wait so, or the kernel does not tell.
std::optional<EventWait> find_event_wait(pid_t pid, pid_t tid);
// Made again, it waits for what is left, if it is still the wait that was found.
Result<> shorten_event_wait(pid_t pid, StoppedThread& thread);

}  // namespace ks::engine
