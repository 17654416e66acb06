// SPDX-License-Identifier: LGPL-2.1-or-later
// TCP connections under repair: their sequence numbers, windows and queues can be read and set, nothing of it is
// sent, and one that is closed so says no word to its peer (TCP_REPAIR: linux/tcp.h, net/ipv4/tcp.c).
#pragma once

#include <span>

#include "base/result.h"
#include "engine/connection.pb.h"

namespace ks::engine::inet_socket {

Result<> enter_repair(int fd);
// Without a word, for its peer has not noticed; SO_REUSEADDR, which repair takes away, as it was.
Result<> leave_repair(int fd, bool reuse);

struct RunningConnection {
  int fd = -1;
  bool reuse = false;    // SO_REUSEADDR
  bool in_line = false;  // SO_OOBINLINE
};
// All at one moment: what one end has sent has arrived at the other end or has not. Meanwhile they are under repair,
// where they are of no use to their service: so it is done undisturbed (target/undisturbed.h).
Result<image::ConnectionReadings> read_connections(std::span<const RunningConnection> connections);

}  // namespace ks::engine::inet_socket
