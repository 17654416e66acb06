// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/user_spaces.h"

namespace ks::engine {

uint32_t UserSpaces::of(pid_t pid) const {
  auto found = of_.find(pid);
  return found == of_.end() ? 0 : found->second;
}

bool UserSpaces::covers(uint32_t above, uint32_t below) const {
  while (below != above && below) {
    auto found = above_.find(below);
    below = found == above_.end() ? 0 : found->second;
  }
  return below == above;
}

}  // namespace ks::engine
