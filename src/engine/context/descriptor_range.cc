// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/descriptor_range.h"

#include <fmt/format.h>

namespace ks::engine {

Result<DescriptorRange> choose_descriptors(const std::set<uint32_t>& used, uint32_t count, uint32_t limit) {
  uint32_t above = used.empty() ? 0 : *used.rbegin() + 1;
  if (above > limit) return fail(fmt::format("descriptor {} is above our own limit of {}", above - 1, limit), EMFILE);
  if (limit - above >= count) return DescriptorRange{above, above + count};
  for (auto at = used.rbegin(); at != used.rend(); ++at) {
    auto below = std::next(at);
    uint32_t free_from = below == used.rend() ? 0 : *below + 1;
    if (*at - free_from >= count) return DescriptorRange{*at - count, *at};
  }
  return fail(fmt::format("our own limit of {} descriptors leaves no room for {} more", limit, count), EMFILE);
}

}  // namespace ks::engine
