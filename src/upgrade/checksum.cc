// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/checksum.h"

#include <fmt/core.h>
#include <xxhash.h>

namespace ks::upgrade {

std::string checksum(std::string_view bytes) {
  XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace ks::upgrade
