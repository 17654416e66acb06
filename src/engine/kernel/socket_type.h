// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.h"

namespace ks::engine {

struct SocketType {
  int family = 0, type = 0, protocol = 0;
  auto operator<=>(const SocketType&) const = default;
};
Result<SocketType> socket_type(int fd);

}  // namespace ks::engine
