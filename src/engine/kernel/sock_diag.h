// SPDX-License-Identifier: LGPL-2.1-or-later
// What sock_diag(7) tells of sockets of our network namespace, and does to them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "base/result.h"

namespace ks::engine {

// As ask_netlink() does.
Result<> ask_sock_diag(uint16_t type, uint16_t flags, std::span<const std::byte> body,
                       const std::function<void(std::span<const std::byte>)>& take);

// Of a TCP connection: what has come and not been read, its end counted like a byte.
Result<uint32_t> bytes_received(int fd);

// Ends a TCP connection as `ss --kill` does (SOCK_DESTROY, CONFIG_INET_DIAG_DESTROY): it is closed, keeps what has
// been received, and has the error ECONNABORTED. Its peer gets a reset.
Result<> abort_connection(int fd);

}  // namespace ks::engine
