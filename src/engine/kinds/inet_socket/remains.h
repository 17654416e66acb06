// SPDX-License-Identifier: LGPL-2.1-or-later
// What a TCP connection leaves to a program that has not closed its descriptor: closed in both directions or reset,
// with what had come before and has not been read. Whom it was connected to, no call tells any more.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "engine/kernel/socket.h"

namespace ks::engine::inet_socket {

// Of a socket that is closed (TCP_CLOSE); nothing where it is no more than a new one. What has not been read;
// `looks_ahead`: SO_PEEK_OFF is set.
Result<std::optional<std::string>> read_remains(int fd, bool looks_ahead);

// To a closed socket: bound as it was. Under repair until leave_repair(), for others may be bound to the same.
Result<> bind_remains(int fd, const std::string& local);
// To a new socket: closed, with what has not been read, and bound so.
Result<> make_remains(int fd, const std::string& local, const std::string& unread);

}  // namespace ks::engine::inet_socket
