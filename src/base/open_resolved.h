// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <fcntl.h>
#include <linux/openat2.h>

#include <cstdint>
#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace ks {

// openat2(2); `resolve`: RESOLVE_IN_ROOT and the like. The descriptor is born O_CLOEXEC; errors name the path.
Result<Fd> open_resolved(int directory, const std::string& path, int flags, uint64_t resolve);

}  // namespace ks
