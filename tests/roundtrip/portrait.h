// SPDX-License-Identifier: LGPL-2.1-or-later
// All that /proc tells of a process tree and that a restore must bring back: what a program forgets to compare,
// this compares.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>

namespace ks::test {

using Portrait = std::map<std::string, std::string>;  // "PID/task/TID/comm": text

// Waits until it stays the same for a moment.
Portrait portray(pid_t root);
// A line for each difference.
std::string differences(const Portrait& before, const Portrait& after);

}  // namespace ks::test
