// SPDX-License-Identifier: LGPL-2.1-or-later
// Sockets that are connected while the network may not be up yet.
#pragma once

#include <string>

#include "base/result.h"

namespace ks::engine::inet_socket {

// To an address of this machine's, or to one that it may get later.
Result<> bind_anyhow(int fd, const std::string& local);
// UDP, TCP under repair, or without waiting (O_NONBLOCK). Where no way leads to the peer, it finds none when
// it sends, as whenever a network is lost, and goes on when there is one. False: so it is now.
Result<bool> connect_anyhow(int fd, const std::string& peer);

}  // namespace ks::engine::inet_socket
