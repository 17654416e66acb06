// SPDX-License-Identifier: LGPL-2.1-or-later
// Descriptor numbers that no restored process uses: there the engine keeps its own while they are handed out.
#pragma once

#include <cstdint>
#include <set>

#include "base/result.h"

namespace ks::engine {

struct DescriptorRange {
  uint32_t first = 0, end = 0;  // `end` is the first that does not belong to it
  bool contains(uint32_t number) const { return number >= first && number < end; }
};

// Above all used ones, or, where `limit` (RLIMIT_NOFILE) leaves no room there, as high as there is a gap. Pure.
Result<DescriptorRange> choose_descriptors(const std::set<uint32_t>& used, uint32_t count, uint32_t limit);

}  // namespace ks::engine
