// SPDX-License-Identifier: LGPL-2.1-or-later
// Datagrams of UDP that nobody has read (udp(7)).
#pragma once

#include <cstddef>

#include "base/result.h"
#include "engine/inet_socket.pb.h"

namespace ks::engine::inet_socket {

Result<bool> has_datagrams(int fd);
Result<size_t> bytes_being_sent(int fd);  // and their bookkeeping

// All of them in their order, each looked at and left. For that SO_PEEK_OFF, which must not be set, is set for a
// moment, undisturbed (target/undisturbed.h).
Result<> read_datagrams(int fd, image::InetSocket& out);

// To a new socket, which has no address and is given none.
Result<> put_datagrams(int fd, const image::InetSocket& socket);

}  // namespace ks::engine::inet_socket
