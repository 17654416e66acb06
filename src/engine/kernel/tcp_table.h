// SPDX-License-Identifier: LGPL-2.1-or-later
// All TCP sockets of a network namespace, as /proc/net/tcp and tcp6 tell of them (proc(5)).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ks::engine {

struct TcpEntry {
  std::string local, peer;  // sockaddr_in or sockaddr_in6
  int state = 0;            // TCP_LISTEN, ...
  uint64_t unread = 0;      // of one that listens: connections that nobody has accepted
  uint64_t inode = 0;       // 0: nobody has it open
};

// Lines that are none are passed over.
std::vector<TcpEntry> parse_tcp_table(std::string_view text);
Result<std::vector<TcpEntry>> read_tcp_table();

}  // namespace ks::engine
