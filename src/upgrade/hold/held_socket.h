// SPDX-License-Identifier: LGPL-2.1-or-later
// A socket whose packets are held back, as a line of text and as a member of a set of nftables.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/engine.h"

namespace ks::upgrade {

// "tcp 10.0.2.15 6379 10.0.2.2 40000", "udp :: 53": protocol, its own address and port, those of its peer if it has
// one. Addresses of IPv4 in IPv6 are those of IPv4: so they are in the packets.
Result<std::string> to_text(const engine::NetworkSocket& socket);

Result<std::vector<std::string>> to_lines(std::span<const engine::NetworkSocket> sockets);

// Such a line, read.
struct HeldSocket {
  struct End {
    std::string address;
    uint16_t port = 0;
    bool any = false;  // its address is none
  };
  std::string protocol;  // "tcp" or "udp"
  int family = 0;        // AF_INET or AF_INET6
  End local;
  std::optional<End> peer;
};
Result<HeldSocket> parse_held_socket(std::string_view line);

struct SetMember {
  std::string set;  // of our table
  std::string key;  // in nft(8)'s notation
};
SetMember set_member(const HeldSocket& socket);

}  // namespace ks::upgrade
