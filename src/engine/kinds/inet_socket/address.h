// SPDX-License-Identifier: LGPL-2.1-or-later
// Addresses of IPv4 and IPv6 as sockets have them, in bytes.
#pragma once

#include <sys/socket.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace ks::engine::inet_socket {

template <class Address>
Address as(std::string_view bytes) {
  Address address{};
  std::ranges::copy(bytes.substr(0, sizeof address), reinterpret_cast<char*>(&address));
  return address;
}
template <class Value>
std::string bytes_of(const Value& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

using AddressCall = int (*)(int, sockaddr*, socklen_t*);  // getsockname or getpeername
Result<std::string> address_by(AddressCall call, int fd);

// Raw sockets show their protocol for a port.
bool is_bound(std::string_view address, bool has_port);
bool is_mapped(std::string_view address);  // one of IPv4 in IPv6

// A port of the loopback interface, of the family that an address is of.
std::string loopback_like(std::string_view address, uint16_t port);

// The same for IPv4 and its addresses in IPv6.
std::string end_of(std::string_view address);

}  // namespace ks::engine::inet_socket
