// SPDX-License-Identifier: LGPL-2.1-or-later
// Errors that have befallen a socket and that it has not told yet (SO_ERROR). Nothing but the event itself gives a
// socket one; so the event is brought about again, over the loopback interface, before the socket gets its address.
#pragma once

#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "engine/inet_socket.pb.h"
#include "engine/kernel/socket_insides.h"

namespace ks::engine::inet_socket {

// Of a TCP connection that has ended so, or of a socket of UDP.
bool can_happen_again(bool tcp, const SocketInsides& insides);

// A connection on its way to its end, which takes more than half a second if nobody answers any more: so all are
// begun before the first one is waited for.
class EndingConnection {
 public:
  // Of a new socket, that is to become what another has been.
  static Result<EndingConnection> begin(Fd fd, const image::InetSocket& was);
  // The socket, closed, with the error, and without an address.
  Result<Fd> finish();

 private:
  explicit EndingConnection(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_, peer_;
  bool has_error_ = true;
};

// To a new socket of UDP: ECONNREFUSED.
Result<> send_to_nobody(int fd);

}  // namespace ks::engine::inet_socket
