// SPDX-License-Identifier: LGPL-2.1-or-later
// UNIX sockets of an image on their way back.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "base/result.h"
#include "engine/image/envelope.h"
#include "engine/socket_state.pb.h"
#include "engine/unix_socket.pb.h"

namespace ks::engine::unix_socket {

struct Record {
  image::UnixSocket socket;
  image::SocketState state;

  bool has_datagrams() const;
  std::string label() const;
};
using Records = std::map<uint32_t, Record>;  // by id
Result<Records> read_records(std::span<const Envelope> envelopes);

// One of two that were made together, or that accept(2) has made: they lead to each other.
bool is_half(const Records& all, const Record& record);

}  // namespace ks::engine::unix_socket
