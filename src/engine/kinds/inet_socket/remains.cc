// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kinds/inet_socket/remains.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "engine/context/socket_state.h"
#include "engine/kernel/sock_diag.h"
#include "engine/kinds/inet_socket/address.h"
#include "engine/kinds/inet_socket/connection.h"
#include "engine/kinds/inet_socket/repair.h"
#include "engine/kinds/inet_socket/route.h"

namespace ks::engine::inet_socket {

namespace {

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

Result<std::optional<std::string>> read_remains(int fd, bool looks_ahead) {
  if (!TRY(has_ended_receiving(fd))) return std::nullopt;
  // It is set by connect(2), also if that fails later.
  if (TRY(read_number(fd, SOL_TCP, TCP_WINDOW_CLAMP)) == 0)
    return refuse("has been shut down without a connection, which is not supported yet");
  int bytes = 0;
  if (::ioctl(fd, SIOCINQ, &bytes)) return fail_errno("SIOCINQ");
  std::string unread(static_cast<size_t>(bytes), '\0');
  if (bytes == 0) return unread;
  if (looks_ahead) return refuse("holds data, and looks ahead in it (SO_PEEK_OFF), which is not supported yet");
  if (::recv(fd, unread.data(), unread.size(), MSG_PEEK | MSG_DONTWAIT) != bytes)
    return refuse("is what a TCP connection has left, and holds urgent data, which is not supported yet");
  return unread;
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
