// SPDX-License-Identifier: LGPL-2.1-or-later
// What sock_diag(7) tells of a UNIX socket.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace ks::engine {

struct UnixSocketFacts {
  bool listens = false;
  int backlog = 0;               // of one that listens
  std::optional<uint32_t> peer;  // inode of the socket that it is connected to, 0: one that has been closed
  struct File {
    uint32_t inode = 0, device = 0;  // device as st_dev, in the kernel's own encoding
  };
  std::optional<File> file;       // that it is bound to
  std::vector<uint32_t> waiting;  // inodes of clients that have not been accepted, 0 for those that have gone
  uint8_t shutdown = 0;           // 1: receives no more, 2: sends no more
};

// Of the socket of this inode, in our network namespace.
Result<UnixSocketFacts> unix_socket_facts(uint32_t inode);

}  // namespace ks::engine
