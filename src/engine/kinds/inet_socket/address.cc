// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kinds/inet_socket/address.h"

#include <fmt/format.h>
#include <netinet/in.h>

namespace ks::engine::inet_socket {

Result<std::string> address_by(AddressCall call, int fd) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (call(fd, reinterpret_cast<sockaddr*>(&address), &length)) return fail_errno("address");
  return std::string(reinterpret_cast<const char*>(&address), length);
}

bool is_bound(std::string_view address, bool has_port) {
  if (as<sockaddr>(address).sa_family == AF_INET) {
    auto in = as<sockaddr_in>(address);
    return (has_port && in.sin_port) || in.sin_addr.s_addr;
  }
  auto in = as<sockaddr_in6>(address);
  return (has_port && in.sin6_port) || !IN6_IS_ADDR_UNSPECIFIED(&in.sin6_addr);
}

bool is_mapped(std::string_view address) {
  auto in = as<sockaddr_in6>(address);
  return in.sin6_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&in.sin6_addr);
}

std::string loopback_like(std::string_view address, uint16_t port) {
  if (as<sockaddr>(address).sa_family == AF_INET)
    return bytes_of(
        sockaddr_in{.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}});
  sockaddr_in6 in{.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
  if (!is_mapped(address)) return bytes_of(in);
  in.sin6_addr = {};
  in.sin6_addr.s6_addr[10] = in.sin6_addr.s6_addr[11] = 0xff;
  in.sin6_addr.s6_addr[12] = 127;
  in.sin6_addr.s6_addr[15] = 1;
  return bytes_of(in);
}

std::string end_of(std::string_view address) {
  if (as<sockaddr>(address).sa_family == AF_INET) {
    auto in = as<sockaddr_in>(address);
    return fmt::format("{:08x} {}", ntohl(in.sin_addr.s_addr), in.sin_port);
  }
  auto in = as<sockaddr_in6>(address);
  std::string text;
  for (size_t i = is_mapped(address) ? 12 : 0; i < 16; ++i) text += fmt::format("{:02x}", in.sin6_addr.s6_addr[i]);
  return fmt::format("{} {}", text, in.sin6_port);
}

}  // namespace ks::engine::inet_socket
