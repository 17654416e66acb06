// SPDX-License-Identifier: LGPL-2.1-or-later
// Names of units, as people type them and as systemd keeps them.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace ks::upgrade {

// "redis-server" is redis-server.service. What cannot be a running service is an error that says why.
Result<std::string> parse_service_name(std::string_view word);

bool is_template(std::string_view unit);         // "getty@.service"
std::string template_of(std::string_view unit);  // "getty@tty1.service" -> "getty@.service"; else ""

}  // namespace ks::upgrade
