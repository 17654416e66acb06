// SPDX-License-Identifier: LGPL-2.1-or-later
// What sock_diag(7) tells of packet sockets (CONFIG_PACKET_DIAG).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"

namespace ks::engine {

struct PacketFacts {
  struct Membership {
    uint32_t interface = 0, count = 0;
    uint16_t type = 0;    // PACKET_MR_...
    std::string address;  // of hardware
  };
  std::vector<Membership> memberships;
  uint32_t copy_threshold = 0;
  bool has_ring = false;  // shared with the program's memory
  bool has_fanout = false;
};

// Of our network namespace, by inode.
Result<std::map<uint32_t, PacketFacts>> packet_sockets();

}  // namespace ks::engine
