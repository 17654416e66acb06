// SPDX-License-Identifier: LGPL-2.1-or-later
// What sock_diag(7) tells of UNIX sockets.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"

namespace ks::engine {

struct UnixSocketFacts {
  bool listens = false;
  int backlog = 0;               // of one that listens
  std::optional<uint32_t> peer;  // inode of the socket that it is connected to, 0: one that nobody has open
  struct File {
    uint32_t inode = 0, device = 0;  // device as st_dev, in the kernel's own encoding
  };
  std::optional<File> file;       // that it is bound to
  std::string name;               // if it is abstract, with its zero
  std::vector<uint32_t> waiting;  // inodes of clients that have not been accepted, 0 for those that have gone
  uint32_t unread = 0;            // memory of what it has sent and its receivers have not read
  uint8_t shutdown = 0;           // 1: receives no more, 2: sends no more
};

// By inode, all that anybody has open in our network namespace. One by one the kernel would look through all of them
// for each.
using UnixSocketTable = std::unordered_map<uint32_t, UnixSocketFacts>;
Result<UnixSocketTable> read_unix_sockets();

}  // namespace ks::engine
