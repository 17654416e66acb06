// SPDX-License-Identifier: LGPL-2.1-or-later
// Sockets as the kernel tells of them: socket(7), ip(7), ipv6(7), tcp(7), udp(7), unix(7).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "engine/kernel/socket_type.h"

namespace ks::engine {

Result<Fd> make_socket(const SocketType& type);

// UDP, or UDP-Lite (RFC 3828), which Linux has until 7.1.
bool has_datagram_ports(int protocol);

struct SocketOption {
  int level = 0, name = 0;
  std::string_view label;
  bool can_be_set = true;
};
// Those that a program can set and read back, in an order in which they can be set: one that changes others comes
// before them. Not among them: buffer sizes, filters, and what the kernel changes by itself.
std::span<const SocketOption> options_of(const SocketType& type);

// Nothing where this kernel, or a socket of this type, does not have it.
Result<std::optional<std::string>> read_option(int fd, const SocketOption& option);
Result<> set_option(int fd, int level, int name, std::string_view value);
Result<int> read_number(int fd, int level, int name);
Result<> set_number(int fd, int level, int name, int value);

// Which sizes the program has set, and the kernel leaves alone: an option newer than the headers (SO_BUF_LOCK).
inline constexpr int kBufferLock = 72, kSendLocked = 1, kReceiveLocked = 2;

// The classic filter attached to it (SO_ATTACH_FILTER), as sock_filter's; one of another kind cannot be read.
Result<std::string> read_filter(int fd);
Result<> attach_filter(int fd, std::string_view filter);

// That is pending (SO_ERROR), or lies in its error queue. It is left there.
Result<bool> has_error(int fd);

// The number of its network namespace, which no other has had since boot (SO_NETNS_COOKIE).
Result<uint64_t> network_of_socket(int fd);

// Under TCP_REPAIR nothing of a connection is sent, also not its end.
Result<> silence_connection(int fd);

// "SCTP", "family 30, type 1, protocol 0"
std::string kind_text(const SocketType& type);

// "127.0.0.1:80", "[::1]:80", "@abstract", "/run/x"
std::string address_text(std::string_view address);

}  // namespace ks::engine
