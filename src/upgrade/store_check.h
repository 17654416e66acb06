// SPDX-License-Identifier: LGPL-2.1-or-later
// Whether images can be stored where the next boot's generator finds them.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace ks::upgrade {

// The generator runs when only the root file system is mounted.
Result<> require_root_file_system(const std::string& store);
Result<> require_space(const std::string& store, uint64_t bytes);

}  // namespace ks::upgrade
