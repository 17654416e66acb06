// SPDX-License-Identifier: LGPL-2.1-or-later
// What sock_diag(7) tells of netlink sockets (CONFIG_NETLINK_DIAG).
#pragma once

#include <cstdint>
#include <map>

#include "base/result.h"

namespace ks::engine {

struct NetlinkFacts {
  uint32_t port = 0;
  bool connected = false;
  uint32_t peer_port = 0, peer_group = 0;  // to whom it sends; 0: to the kernel, to no group
  bool answering = false;                  // the kernel is in the middle of a long answer to it
};

// Of our network namespace, by inode. Not among them are those that have neither a port nor a group.
Result<std::map<uint32_t, NetlinkFacts>> netlink_sockets();

}  // namespace ks::engine
