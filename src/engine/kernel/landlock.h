// SPDX-License-Identifier: LGPL-2.1-or-later
// Who has given up rights by Landlock (landlock(7)). The kernel shows that nowhere; it is read where it lies.
#pragma once

#include <sys/types.h>

#include "base/result.h"

namespace ks::engine {

// Whether anybody on this machine has, which costs as much as to look at one process.
Result<bool> is_anybody_in_landlock_domain();
// A process any thread of which has. Fails where the kernel lets nobody read in it, has no BTF, or where we have
// given up rights ourselves; false where it has no Landlock.
Result<bool> is_in_landlock_domain(pid_t pid);
// What takes longest of it, and needs to be done once: better before a service stands still.
void prepare_to_look_for_landlock();

}  // namespace ks::engine
