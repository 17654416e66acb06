// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/sock_diag.h"

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>

#include "engine/kernel/netlink.h"
#include "engine/kernel/socket.h"

namespace ks::engine {

namespace {

// The address as sock_diag(7) wants it, that of IPv4 in the first word. Returns the port.
uint16_t put_end(const sockaddr_storage& end, uint32_t (&words)[4]) {
  if (end.ss_family == AF_INET) {
    sockaddr_in in;
    std::memcpy(&in, &end, sizeof in);
    words[0] = in.sin_addr.s_addr;
    return in.sin_port;
  }
  sockaddr_in6 in;
  std::memcpy(&in, &end, sizeof in);
  std::memcpy(words, &in.sin6_addr, sizeof words);
  return in.sin6_port;
}

Result<inet_diag_req_v2> request_for(int fd) {
  sockaddr_storage local{}, peer{};
  socklen_t length = sizeof local, peer_length = sizeof peer;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&local), &length) ||
      ::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &peer_length))
    return fail_errno("address");
  uint64_t cookie = 0;
  length = sizeof cookie;
  if (::getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length)) return fail_errno("SO_COOKIE");
  inet_diag_req_v2 request{.sdiag_family = static_cast<uint8_t>(local.ss_family),
                           .sdiag_protocol = IPPROTO_TCP,
                           .idiag_ext = 0,
                           .pad = 0,
                           .idiag_states = ~0u,
                           .id = {}};
  auto& id = request.id;
  id.idiag_sport = put_end(local, id.idiag_src);
  id.idiag_dport = put_end(peer, id.idiag_dst);
  id.idiag_if = static_cast<uint32_t>(TRY(read_number(fd, SOL_SOCKET, SO_BINDTOIFINDEX)));
  id.idiag_cookie[0] = static_cast<uint32_t>(cookie);
  id.idiag_cookie[1] = static_cast<uint32_t>(cookie >> 32);
  return request;
}

}  // namespace

Result<> ask_sock_diag(uint16_t type, uint16_t flags, std::span<const std::byte> body,
                       const std::function<void(std::span<const std::byte>)>& take) {
  return in("sock_diag", ask_netlink(NETLINK_SOCK_DIAG, type, flags, body, take));
}

Result<uint32_t> bytes_received(int fd) {
  auto request = TRY(request_for(fd));
  uint32_t bytes = 0;
  TRY(ask_sock_diag(SOCK_DIAG_BY_FAMILY, 0, std::as_bytes(std::span(&request, 1)),
                    [&](auto answer) { bytes = head_of<inet_diag_msg>(answer).idiag_rqueue; }));
  return bytes;
}

Result<> abort_connection(int fd) {
  auto request = TRY(request_for(fd));
  return in("SOCK_DESTROY",
            ask_sock_diag(SOCK_DESTROY, NLM_F_ACK, std::as_bytes(std::span(&request, 1)), [](auto) {}));
}

}  // namespace ks::engine
