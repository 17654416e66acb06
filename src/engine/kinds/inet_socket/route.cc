// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kinds/inet_socket/route.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "engine/kernel/socket.h"
#include "engine/kinds/inet_socket/lent_option.h"

namespace ks::engine::inet_socket {

namespace {

// The same flag of a socket for both families, which raw sockets take under their own name alone. It lets addresses
// pass that are not this machine's (ip(7)).
Result<SocketOption> transparent_option(int fd) {
  bool six = TRY(read_number(fd, SOL_SOCKET, SO_DOMAIN)) == AF_INET6;
  return six ? SocketOption{SOL_IPV6, IPV6_TRANSPARENT, "IPV6_TRANSPARENT"}
             : SocketOption{SOL_IP, IP_TRANSPARENT, "IP_TRANSPARENT"};
}
constexpr SocketOption kRoute{SOL_IPV6, IPV6_RTHDR, "IPV6_RTHDR"};

std::string one() {
  int value = 1;
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

int family_of(const std::string& address) {
  sa_family_t family = AF_UNSPEC;
  std::memcpy(&family, address.data(), std::min(sizeof family, address.size()));
  if (family != AF_INET6) return family;
  sockaddr_in6 in{};
  std::memcpy(&in, address.data(), std::min(sizeof in, address.size()));
  return IN6_IS_ADDR_V4MAPPED(&in.sin6_addr) ? AF_INET : AF_INET6;
}

// A way by ::1: the kernel looks for a route to the first stop alone.
std::string by_loopback() {
  struct {  // RFC 8754, section 2
    uint8_t next_header = 0, length = sizeof(in6_addr) * 2 / 8, type = 4, segments_left = 1, last_entry = 1,
            flags = 0;
    uint16_t tag = 0;
    in6_addr segments[2] = {IN6ADDR_ANY_INIT, IN6ADDR_LOOPBACK_INIT};  // the last stop first
  } route;
  return {reinterpret_cast<const char*>(&route), sizeof route};
}

int try_connect(int fd, const std::string& peer) {
  bool done = !::connect(fd, reinterpret_cast<const sockaddr*>(peer.data()), static_cast<socklen_t>(peer.size()));
  return done || errno == EINPROGRESS ? 0 : errno;
}

bool is_no_way(int error) {
  return error == ENETUNREACH || error == EHOSTUNREACH || error == ENETDOWN || error == EADDRNOTAVAIL ||
         error == EINVAL || error == EACCES;
}

}  // namespace

Result<> bind_anyhow(int fd, const std::string& local) {
  LentOption transparent(TRY(transparent_option(fd)));
  TRY(transparent.set(fd, one()));
  if (::bind(fd, reinterpret_cast<const sockaddr*>(local.data()), static_cast<socklen_t>(local.size())))
    return fail_errno("bind");
  return transparent.give_back();
}

Result<bool> connect_anyhow(int fd, const std::string& peer) {
  LentOption transparent(TRY(transparent_option(fd))), device(kDevice), route(kRoute);
  TRY(transparent.set(fd, one()));
  int error = try_connect(fd, peer);
  bool found = error == 0;
  if (is_no_way(error)) {
    // To the loopback interface, where IPv4 takes everybody for a neighbour that it knows no route to.
    TRY(device.set(fd, "lo"));
    if (family_of(peer) == AF_INET6) TRY(route.set(fd, by_loopback()));
    error = try_connect(fd, peer);
  }
  if (error) return fail_errno("connect to " + address_text(peer), error);
  if (found) return true;
  if (family_of(peer) == AF_INET6) TRY(route.give_back());
  TRY(device.give_back());
  return false;
}

}  // namespace ks::engine::inet_socket
