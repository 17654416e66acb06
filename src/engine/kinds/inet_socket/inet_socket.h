// SPDX-License-Identifier: LGPL-2.1-or-later
// Sockets of TCP and UDP over IPv4 and IPv6.
#pragma once

#include <span>
#include <string_view>

#include "engine/inet_socket.pb.h"
#include "engine/kinds/kind.h"

namespace ks::engine::inet_socket {

inline constexpr std::string_view kName = "inet-socket";
inline constexpr uint32_t kVersion = 3;

bool owns(const OpenFile& file);
Result<> dump(Dumping& dumping, std::span<const OpenFile> files);
Result<Fds> make(Restoring& restoring, std::span<const Envelope> envelopes);
Result<> release(Restoring& restoring, std::span<const Envelope> envelopes);

}  // namespace ks::engine::inet_socket
