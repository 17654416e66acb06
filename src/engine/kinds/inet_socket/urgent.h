// SPDX-License-Identifier: LGPL-2.1-or-later
// Received streams of TCP with an urgent byte in them, or one that has been announced (tcp(7), "mark").
#pragma once

#include <string>

#include "base/result.h"
#include "engine/connection.pb.h"
#include "engine/kernel/socket_insides.h"

namespace ks::engine::inet_socket {

// Of what has been received and not been read, `bytes`, with the mark among them. Options of the socket are changed
// for that moment; a connection has to be under repair, with its received queue chosen.
Result<std::string> peek_around_mark(int fd, const TcpInsides& insides, size_t bytes);
// Where nobody else sees to it that this happens undisturbed. `in_line`: SO_OOBINLINE is set.
Result<std::string> peek_undisturbed(int fd, const TcpInsides& insides, size_t bytes, bool in_line);

// To a connection under repair, which has been filled up to the mark; the rest of what has not been read comes too.
// Those that their peers belong to as well must all be there: they get an acknowledgement.
Result<> put_from_mark(int fd, const image::TcpConnection& connection, const std::string& local,
                       const std::string& peer);

}  // namespace ks::engine::inet_socket
