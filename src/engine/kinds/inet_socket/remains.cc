// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kinds/inet_socket/remains.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "engine/context/socket_state.h"
#include "engine/kernel/sock_diag.h"
#include "engine/kinds/inet_socket/address.h"
#include "engine/kinds/inet_socket/connection.h"
#include "engine/kinds/inet_socket/repair.h"
#include "engine/kinds/inet_socket/route.h"
#include "engine/kinds/inet_socket/urgent.h"

namespace ks::engine::inet_socket {

namespace {

Result<bool> has_urgent(int fd) {
  pollfd poll{.fd = fd, .events = POLLPRI, .revents = 0};
  if (::poll(&poll, 1, 0) < 0) return fail_errno("poll");
  return (poll.revents & POLLPRI) != 0;
}

// Anybody: no call tells who it was, and what is said to him goes nowhere. What several connections of one port have
// left needs a peer each.
Result<> connect_to_nobody(int fd, const std::string& local) {
  constexpr uint16_t kLast = 0xffff;
  for (uint16_t port = 1;; ++port) {
    auto connected = connect_anyhow(fd, loopback_like(local, port));
    if (connected) return {};
    if (connected.error().code != EADDRNOTAVAIL || port == kLast) return std::unexpected(connected.error());
  }
}

}  // namespace

Result<bool> has_remains(int fd) {
  if (!TRY(has_ended_receiving(fd))) return false;
  // It is set by connect(2), also if that fails later.
  if (TRY(read_number(fd, SOL_TCP, TCP_WINDOW_CLAMP)) == 0)
    return refuse("has been shut down without a connection, which is not supported yet");
  return true;
}

Result<> read_remains(int fd, const image::SocketState& state, const SocketInsides* insides, image::InetSocket& out) {
  int counted = 0;
  if (::ioctl(fd, SIOCINQ, &counted)) return fail_errno("SIOCINQ");
  // A mark, before which counting ends.
  if (!insides && (TRY(is_at_mark(fd)) || TRY(has_urgent(fd))))
    return refuse("is what a TCP connection has left, with urgent data, and the kernel does not let us see where");
  size_t bytes = insides ? insides->bytes_unread() : static_cast<size_t>(counted);
  if (bytes == 0) return {};
  if (find_option(state, SOL_SOCKET, SO_PEEK_OFF))
    return refuse("holds data, and looks ahead in it (SO_PEEK_OFF), which is not supported yet");
  if (insides && insides->tcp.urgent) {
    size_t mark = insides->tcp.urgent_at - insides->tcp.read_up_to;
    if (mark >= bytes)
      return refuse("is what a TCP connection has left, and waits for urgent data, which is not supported yet");
    out.set_urgent(static_cast<uint32_t>(mark + 1));
    out.set_urgent_is_read(insides->tcp.urgent & TcpInsides::kHasBeenRead);
    out.set_peer_ended(insides->peer_ended);
    out.set_unread(TRY(peek_undisturbed(fd, insides->tcp, bytes, find_option(state, SOL_SOCKET, SO_OOBINLINE))));
    return {};
  }
  std::string unread(bytes, '\0');
  ssize_t got = ::recv(fd, unread.data(), unread.size(), MSG_PEEK | MSG_DONTWAIT);
  if (got != static_cast<ssize_t>(bytes))
    return refuse("is what a TCP connection has left, with urgent data, and the kernel does not let us see where");
  out.set_unread(std::move(unread));
  return {};
}

Result<> bind_remains(int fd, const std::string& local) {
  TRY(enter_repair(fd));
  return bind_anyhow(fd, local);
}

Result<> make_remains(int fd, const std::string& local, const std::string& unread) {
  TRY(bind_remains(fd, local));
  TRY(connect_to_nobody(fd, local));
  TRY(with_wide_buffers(fd, 0, unread.size(), [&] { return put_received(fd, unread); }));
  TRY(abort_connection(fd));
  TRY(read_number(fd, SOL_SOCKET, SO_ERROR));  // which the abort has left, and reading takes away
  tcp_info info{};
  socklen_t length = sizeof info;
  if (::getsockopt(fd, SOL_TCP, TCP_INFO, &info, &length)) return fail_errno("TCP_INFO");
  return info.tcpi_state == TCP_CLOSE ? Result<>() : fail("cannot be closed");
}

}  // namespace ks::engine::inet_socket
