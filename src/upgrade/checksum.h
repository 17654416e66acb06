// SPDX-License-Identifier: LGPL-2.1-or-later
// Finds damage in what we wrote ourselves; no defence against forgery, which only root could do.
#pragma once

#include <string>
#include <string_view>

namespace ks::upgrade {

std::string checksum(std::string_view bytes);  // XXH3, 32 hexadecimal digits

}  // namespace ks::upgrade
