// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <sys/types.h>

#include <functional>
#include <set>

#include "base/result.h"

namespace ks::engine {

// Forks a child that has none of the PIDs `taken`, which are to be somebody else's. It runs `body`, which must not
// return.
Result<pid_t> fork_beside(const std::set<pid_t>& taken, const std::function<void()>& body);

}  // namespace ks::engine
