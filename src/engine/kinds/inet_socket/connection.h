// SPDX-License-Identifier: LGPL-2.1-or-later
// TCP connections.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string_view>

#include "base/result.h"
#include "engine/connection.pb.h"
#include "engine/kernel/socket_insides.h"

namespace ks::engine::inet_socket {

// Whether a socket in this state (TCP_INFO) has a peer: established, half closed, or closed by both, which has not
// been acknowledged yet.
bool is_connection(uint8_t state);

// Its peer's end has come, or it has been told to receive no more.
Result<bool> has_ended_receiving(int fd);

// What is to be read next is urgent.
Result<bool> is_at_mark(int fd);

// What moves when anything is sent, received or acknowledged. Timers send on, also under repair.
struct Progress {
  int received = 0, unread = 0, written = 0, unacknowledged = 0, unsent = 0;
  std::optional<TcpInsides> insides;  // where the kernel lets us see them, which is all that tells what is urgent
  bool operator==(const Progress&) const = default;
};
Result<Progress> progress_of(int fd, const std::map<int, SocketInsides>* insides);

// Refuses what repair does not show; EAGAIN: something has moved since `progress` was looked at. The connection must
// be under repair.
Result<image::TcpConnection> read_connection(int fd, const Progress& progress);

// To a new socket under repair that is bound, in two steps: before connect(2) and after it. What had not been sent is
// left out, and what has been received from an urgent byte on.
Result<> prepare_connection(int fd, const image::TcpConnection& connection);
Result<> fill_connection(int fd, const image::TcpConnection& connection);
// Data that waits to be read, to a connection under repair.
Result<> put_received(int fd, std::string_view data);
// For a segment of the peer's; returns the sequence number that it is to have.
Result<uint32_t> open_window(int fd, const image::TcpConnection& connection);
// When all of it is there.
Result<> finish_received(int fd, const image::TcpConnection& connection);
// Out of repair: it asks its peer for an acknowledgement, and sends on.
Result<> resume_connection(int fd, const image::TcpConnection& connection);

}  // namespace ks::engine::inet_socket
