// SPDX-License-Identifier: LGPL-2.1-or-later
// What sock_diag(7) tells of sockets of our network namespace, and does to them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>

#include "base/result.h"

namespace ks::engine {

// One request of a protocol of netlink; each answer to it goes to `take`, without its header. Answers to a request
// for all (NLM_F_DUMP) are many.
Result<> ask_netlink(int protocol, uint16_t type, uint16_t flags, std::span<const std::byte> body,
                     const std::function<void(std::span<const std::byte>)>& take);
Result<> ask_sock_diag(uint16_t type, uint16_t flags, std::span<const std::byte> body,
                       const std::function<void(std::span<const std::byte>)>& take);

// Those that follow the fixed part of an answer.
void each_attribute(std::span<const std::byte> attributes,
                    const std::function<void(uint16_t type, std::span<const std::byte>)>& take);
// As much as there is of a structure that the kernel may know in a shorter or longer form.
template <class Value>
Value head_of(std::span<const std::byte> bytes) {
  Value value{};
  std::memcpy(&value, bytes.data(), std::min(bytes.size(), sizeof value));
  return value;
}

// Of a TCP connection: what has come and not been read, its end counted like a byte.
Result<uint32_t> bytes_received(int fd);

// Ends a TCP connection as `ss --kill` does (SOCK_DESTROY, CONFIG_INET_DIAG_DESTROY): it is closed, keeps what has
// been received, and has the error ECONNABORTED. Its peer gets a reset.
Result<> abort_connection(int fd);

}  // namespace ks::engine
