// SPDX-License-Identifier: LGPL-2.1-or-later
// Who belongs to a target. While some of it still runs, a list is only what was there at a moment.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/result.h"

namespace ks::engine {

// A process and all its descendants, zombies included.
Result<std::vector<pid_t>> list_tree(pid_t root);
// The processes in a cgroup directory and in those below it, and their children that are zombies: those belong to no
// group any more (Documentation/admin-guide/cgroup-v2.rst).
Result<std::vector<pid_t>> list_cgroup(const std::string& directory);
// The leader first, the others by their numbers. Empty: the process has ended.
Result<std::vector<pid_t>> list_threads(pid_t pid);
// A thread by which the kernel works for io_uring(7), listed among those of the process that has it (iou-wrk-PID,
// iou-sqp-PID). It never runs the program. To stop it would be to interrupt what it does for a request.
Result<bool> is_ring_worker(pid_t pid, pid_t tid);

}  // namespace ks::engine
