// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <sys/types.h>

#include "base/fd.h"
#include "base/result.h"

namespace ks::upgrade {

// Where paths begin for systemd when it starts a unit again of which this is a process: the root directory of the
// mount namespace that the process lives in, whatever root it has given itself (chroot(2)).
Result<Fd> unit_root(pid_t pid);

}  // namespace ks::upgrade
