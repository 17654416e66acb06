// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/verdict.h"

#include <fmt/format.h>

namespace ks::engine {

std::string to_string(const Reason& reason) {
  std::string text = reason.pid ? fmt::format("pid {}: ", reason.pid) : "";
  return text + reason.object + ": " + reason.text;
}

}  // namespace ks::engine
