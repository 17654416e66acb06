// SPDX-License-Identifier: LGPL-2.1-or-later
// All sockets of the Internet protocols in our network namespace, as /proc/net/tcp, tcp6, udp, udp6, udplite,
// udplite6, raw, raw6, icmp and icmp6 tell of them (proc(5)).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ks::engine {

struct SocketEntry {
  std::string local, peer;  // sockaddr_in or sockaddr_in6
  int state = 0;            // TCP_LISTEN, ...
  uint64_t unread = 0;      // bytes, or of one that listens: connections that nobody has accepted
  uint64_t inode = 0;       // 0: nobody has it open
};

// Lines that are none are passed over.
std::vector<SocketEntry> parse_socket_table(std::string_view text);
// Of IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE, IPPROTO_RAW for raw sockets of all protocols, or IPPROTO_ICMP for
// those that only ping.
Result<std::vector<SocketEntry>> read_socket_table(int protocol);

}  // namespace ks::engine
