// SPDX-License-Identifier: LGPL-2.1-or-later
// PID namespaces (pid_namespaces(7)), and what only a process inside one can see and set. A process that is in one
// stays there, so these functions fork.
#pragma once

#include <sys/types.h>

#include "base/fd.h"
#include "base/result.h"

namespace ks::engine {

// The one above.
Result<Fd> parent_pid_namespace(int fd);

struct PidCounters {
  pid_t last = 0;   // that it has given out; to ask takes one
  pid_t limit = 0;  // pid_max, of its own since Linux 6.14
};
// Of a new one where `fd` is -1.
Result<PidCounters> read_pid_counters(int fd);
// The next process gets the number above, or the next free one.
Result<> set_last_pid(int fd, pid_t last);

// Whether the one that the children of a process are to be in has had no process yet, read where it lies. (Before
// Linux 7 it has no name then.) Fails where the kernel lets nobody read there.
Result<bool> is_new_for_children(pid_t pid);

}  // namespace ks::engine
