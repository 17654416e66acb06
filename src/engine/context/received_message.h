// SPDX-License-Identifier: LGPL-2.1-or-later
// What a UNIX socket has received and nobody has read.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ks::engine {

// A datagram or packet; of a stream, bytes that have these descriptors and credentials with them.
struct ReceivedMessage {
  std::string bytes;
  std::string sender;                // sockaddr_un; empty: one without a name
  std::optional<ucred> credentials;  // as the receiver has asked for (SO_PASSCRED)
  std::vector<uint32_t> files;       // open files in flight, by id (SCM_RIGHTS)
};

}  // namespace ks::engine
