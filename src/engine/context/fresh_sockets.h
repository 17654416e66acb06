// SPDX-License-Identifier: LGPL-2.1-or-later
// What a new socket is, here and now: others are described by how they differ from it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/kernel/socket_type.h"

namespace ks::engine {

class FreshSockets {
 public:
  struct Facts {
    uint64_t network = 0;  // SO_NETNS_COOKIE
    int send_buffer = 0, receive_buffer = 0;
    std::vector<std::optional<std::string>> options;  // in the order of options_of()
  };
  // Asked of one socket, once for each type. Good as long as this.
  Result<const Facts*> of(const SocketType& type);

 private:
  std::map<SocketType, Facts> known_;
};

}  // namespace ks::engine
