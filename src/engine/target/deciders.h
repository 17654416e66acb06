// SPDX-License-Identifier: LGPL-2.1-or-later
// Processes that decide whether others may open or read files (fanotify(7), FAN_OPEN_PERM and its like). As long as
// one is stopped, everybody who opens such a file waits for it, and so would we.
#pragma once

#include <span>

#include "base/result.h"
#include "engine/target/process.h"

namespace ks::engine {

// A refusal if one of them does. Opens nothing but files of /proc, for which nobody can be asked.
Result<> check_deciders(std::span<const StoppedProcess> processes);

}  // namespace ks::engine
