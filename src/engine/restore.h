// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string>

#include "base/result.h"
#include "engine/engine.h"
#include "engine/kernel/features.h"

namespace ks::engine {

Result<RestoreReport> restore_image(const Kernel& kernel, const std::string& directory,
                                    const RestoreOptions& options);

}  // namespace ks::engine
