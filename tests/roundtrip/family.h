// SPDX-License-Identifier: LGPL-2.1-or-later
// The processes below this one. It reaps them all: what a restore leaves behind becomes its child, since it is a
// subreaper.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace ks::test {

using namespace std::chrono_literals;

// How many times as long to wait for what should happen: PATIENCE in the environment, for machines that are emulated.
int patience();
void become_reaper();
// All descendants, parents first; dead ones too.
std::vector<pid_t> descendants(pid_t of);
// Its status as of wait(2) once it has ended; nothing if it has not in time. Tells each end once.
std::optional<int> await_end(pid_t pid, std::chrono::milliseconds limit);
// Reaps, and takes note, whatever has ended.
void reap();
// Ends of this PID that were noted concern an earlier process.
void forget_end(pid_t pid);
// Empty once no task of a process and its descendants is traced any more; otherwise, after a while, which ones are.
std::string await_unseized(pid_t root);
// Empty once every task of them has slept since, or has ended: what had interrupted it is behind it.
std::string await_sleep(pid_t root);
// Of a process and its descendants, a line each: in what the kernel has them wait, and in which call.
std::string where_threads_are(pid_t root);
// All below this process, dead and reaped.
void kill_descendants();

}  // namespace ks::test
