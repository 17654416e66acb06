// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/verdict.h"

#include <fmt/format.h>

#include <algorithm>

namespace ks::engine {

std::string to_string(const Reason& reason) {
  std::string text = reason.pid ? fmt::format("pid {}: ", reason.pid) : "";
  return text + reason.object + ": " + reason.text;
}

bool are_for_now(std::span<const Reason> reasons) {
  return !reasons.empty() &&
         std::ranges::all_of(reasons, [](const Reason& reason) { return is_for_now(reason.text); });
}

}  // namespace ks::engine
