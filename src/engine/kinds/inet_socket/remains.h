// SPDX-License-Identifier: LGPL-2.1-or-later
// What a TCP connection leaves to a program that has not closed its descriptor: closed in both directions or reset,
// with what had come before and has not been read. Whom it was connected to, no call tells any more.
#pragma once

#include <string>

#include "base/result.h"
#include "engine/inet_socket.pb.h"
#include "engine/kernel/socket_insides.h"
#include "engine/socket_state.pb.h"

namespace ks::engine::inet_socket {

// Whether a socket that is closed (TCP_CLOSE) is more than a new one.
Result<bool> has_remains(int fd);
// What has not been read; `insides`: null where the kernel does not let us see them.
Result<> read_remains(int fd, const image::SocketState& state, const SocketInsides* insides, image::InetSocket& out);

// To a closed socket: bound as it was. Under repair until leave_repair(), for others may be bound to the same.
Result<> bind_remains(int fd, const std::string& local);
// To a new socket: closed, with what has not been read, and bound so.
Result<> make_remains(int fd, const std::string& local, const std::string& unread);

}  // namespace ks::engine::inet_socket
