// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/checksum.h"

#include <fmt/core.h>
#include <xxhash.h>

namespace ks::upgrade {

std::string checksum(std::string_view bytes) {
  Checksum sum;
  sum.add(bytes);
  return sum.finish();
}

Checksum::Checksum() : state_(XXH3_createState()) { XXH3_128bits_reset(state_); }
Checksum::~Checksum() { XXH3_freeState(state_); }
void Checksum::add(std::string_view bytes) { XXH3_128bits_update(state_, bytes.data(), bytes.size()); }
std::string Checksum::finish() const {
  XXH128_hash_t hash = XXH3_128bits_digest(state_);
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace ks::upgrade
