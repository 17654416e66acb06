// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kinds/unix_socket/records.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include "engine/kernel/socket.h"
#include "engine/kinds/unix_socket/unix_socket.h"

namespace ks::engine::unix_socket {

bool Record::has_datagrams() const { return state.type() == SOCK_DGRAM; }

std::string Record::label() const {
  return fmt::format("UNIX socket {} ({})", socket.id(), address_text(socket.name()));
}

Result<Records> read_records(std::span<const Envelope> envelopes) {
  Records all;
  for (const Envelope& envelope : envelopes) {
    Record record;
    if (envelope.version != kVersion) return fail("of another version than this kernel-swap knows");
    TRY(parse_body(envelope, record.socket));
    if (!record.state.ParseFromString(record.socket.state())) return fail("a record of a socket cannot be read");
    uint32_t id = record.socket.id();
    all.emplace(id, std::move(record));
  }
  return all;
}

bool is_half(const Records& all, const Record& record) {
  const auto& socket = record.socket;
  if (!socket.connected() || !socket.peer_name().empty()) return false;
  if (socket.peer_is_gone() || !record.has_datagrams()) return true;
  auto peer = all.find(socket.peer());
  bool mutual = peer != all.end() && peer->second.socket.connected() && peer->second.socket.peer() == socket.id() &&
                peer->second.socket.peer_name().empty();
  return mutual && socket.name().empty() && peer->second.socket.name().empty();
}

}  // namespace ks::engine::unix_socket
