// SPDX-License-Identifier: LGPL-2.1-or-later
// The placeholder, as the restorer sees it.
#pragma once

#include <sys/types.h>

#include <string_view>

#include "base/result.h"

namespace ks::upgrade {

enum class Word { become, dismissed };

// The one in our unit's control group, of which systemd does not know. Nothing else is there before a restore.
Result<pid_t> find_placeholder();

// Waits until the placeholder listens: before that, the signal would kill it.
Result<> tell_placeholder(pid_t placeholder, Word word);

// Of /proc/PID/status: whether the placeholder has blocked its signals.
bool listens(std::string_view status);

}  // namespace ks::upgrade
