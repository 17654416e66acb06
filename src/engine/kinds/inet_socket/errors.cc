// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kinds/inet_socket/errors.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/context/socket_state.h"
#include "engine/kernel/sock_diag.h"
#include "engine/kinds/inet_socket/address.h"

namespace ks::engine::inet_socket {

namespace {

constexpr int kPatience = 10'000;  // milliseconds

Result<> await(int fd, short events, const char* what) {
  pollfd poll{.fd = fd, .events = events, .revents = 0};
  int ready = ::poll(&poll, 1, kPatience);
  if (ready < 0) return fail_errno("poll");
  return ready ? Result<>() : fail(fmt::format("{} does not come about over the loopback interface", what));
}

Result<> await_bytes(int fd, size_t bytes) {
  for (int i = 0; i < kPatience; ++i, ::usleep(1000)) {
    int there = 0;
    if (::ioctl(fd, SIOCINQ, &there)) return fail_errno("SIOCINQ");
    if (static_cast<size_t>(there) >= bytes) return {};
  }
  return fail("what has not been read does not come over the loopback interface");
}

Result<> bind_to(int fd, const std::string& address) {
  if (::bind(fd, reinterpret_cast<const sockaddr*>(address.data()), static_cast<socklen_t>(address.size())))
    return fail_errno("bind");
  return {};
}

Result<> connect_without_waiting(int fd, const std::string& address) {
  if (::fcntl(fd, F_SETFL, O_NONBLOCK)) return fail_errno("F_SETFL");
  auto* to = reinterpret_cast<const sockaddr*>(address.data());
  if (::connect(fd, to, static_cast<socklen_t>(address.size())) && errno != EINPROGRESS) return fail_errno("connect");
  return {};
}

Result<Fd> bound_to_loopback(int fd, const std::string& address) {
  Fd other = TRY(make_socket(TRY(socket_type(fd))));
  // Whatever the system's default is.
  if (is_mapped(address))
    for (int socket : {fd, other.get()}) TRY(set_number(socket, SOL_IPV6, IPV6_V6ONLY, 0));
  TRY(bind_to(other.get(), address));
  return other;
}

// The other end.
Result<Fd> connect_to_ourselves(int fd, const std::string& address) {
  Fd listener = TRY(bound_to_loopback(fd, address));
  if (::listen(listener.get(), 1)) return fail_errno("listen");
  TRY(connect_without_waiting(fd, TRY(address_by(::getsockname, listener.get()))));
  TRY(await(fd, POLLOUT, "a connection"));
  TRY(await(listener.get(), POLLIN, "a connection"));
  Fd peer(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!peer) return fail_errno("accept");
  return peer;
}

Result<> send_all(int fd, std::string_view data) {
  while (!data.empty()) {
    ssize_t sent = ::send(fd, data.data(), data.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return fail_errno("send");
    if (sent < 0)
      TRY(await(fd, POLLOUT, "what has not been read"));
    else
      data.remove_prefix(static_cast<size_t>(sent));
  }
  return {};
}

// In line everything is counted, behind an urgent byte too.
Result<> send_unread(int fd, int peer, const image::InetSocket& was) {
  std::string_view unread = was.unread();
  TRY(set_number(fd, SOL_SOCKET, SO_OOBINLINE, 1));
  if (was.urgent()) {
    TRY(send_all(peer, unread.substr(0, was.urgent() - 1)));
    if (::send(peer, &unread[was.urgent() - 1], 1, MSG_OOB | MSG_NOSIGNAL) != 1) return fail_errno("send");
  }
  TRY(send_all(peer, unread.substr(was.urgent())));
  TRY(await_bytes(fd, unread.size()));
  TRY(set_number(fd, SOL_SOCKET, SO_OOBINLINE, 0));
  char byte;
  if (was.urgent_is_read() && ::recv(fd, &byte, 1, MSG_OOB | MSG_DONTWAIT) != 1) return fail_errno("recv");
  return {};
}

// Closed so, the other end says that it knows of no connection.
Result<> reset(Fd peer) {
  linger none{.l_onoff = 1, .l_linger = 0};
  return set_option(peer.get(), SOL_SOCKET, SO_LINGER, bytes_of(none));
}

// The other end takes nothing any more, and acknowledges nothing.
Result<> let_time_out(int fd, const Fd& peer) {
  sock_filter nothing = BPF_STMT(BPF_RET | BPF_K, 0);
  TRY(attach_filter(peer.get(), bytes_of(nothing)));
  TRY(set_number(fd, SOL_TCP, TCP_USER_TIMEOUT, 1));
  return send_all(fd, "x");
}

}  // namespace

bool can_happen_again(bool tcp, const SocketInsides& insides) {
  if (!tcp) return insides.error == ECONNREFUSED;
  switch (insides.error) {
    case EPIPE:
      return insides.peer_ended;
    case ECONNRESET:
    case ECONNREFUSED:
    case ECONNABORTED:
      return !insides.peer_ended;
    default:
      return insides.error == ETIMEDOUT;
  }
}

Result<EndingConnection> EndingConnection::begin(Fd fd, const image::InetSocket& was) {
  EndingConnection connection(std::move(fd));
  int mine = connection.fd_.get();
  std::string loopback = loopback_like(was.address(), 0);
  if (was.error() == ECONNREFUSED) {
    connection.peer_ = TRY(bound_to_loopback(mine, loopback));  // and does not listen
    TRY(connect_without_waiting(mine, TRY(address_by(::getsockname, connection.peer_.get()))));
    return connection;
  }
  TRY(with_wide_buffers(mine, 0, was.unread().size(), [&]() -> Result<> {
    Fd& peer = connection.peer_;
    peer = TRY(connect_to_ourselves(mine, loopback));
    TRY(send_unread(mine, peer.get(), was));
    if (!was.peer_ended()) return {};
    if (::shutdown(peer.get(), SHUT_WR)) return fail_errno("shutdown");
    return await(mine, POLLRDHUP, "the end of a connection");
  }));
  connection.has_error_ = was.error();
  if (was.error() == ECONNABORTED)
    TRY(abort_connection(mine));
  else if (was.error() == ETIMEDOUT)
    TRY(let_time_out(mine, connection.peer_));
  else
    TRY(reset(std::move(connection.peer_)));
  return connection;
}

Result<Fd> EndingConnection::finish() {
  TRY(await(fd_.get(), 0, "an error"));
  if (!has_error_) TRY(read_number(fd_.get(), SOL_SOCKET, SO_ERROR));  // which reading takes away
  TRY(set_number(fd_.get(), SOL_TCP, TCP_USER_TIMEOUT, 0));
  return std::move(fd_);
}

Result<> send_to_nobody(int fd) {
  int family = TRY(socket_type(fd)).family;
  std::string nobody;
  {
    Fd was_there =
        TRY(bound_to_loopback(fd, loopback_like(bytes_of(sockaddr{static_cast<sa_family_t>(family), {}}), 0)));
    nobody = TRY(address_by(::getsockname, was_there.get()));
  }
  TRY(connect_without_waiting(fd, nobody));
  if (::send(fd, "", 0, MSG_NOSIGNAL) < 0) return fail_errno("send");
  TRY(await(fd, 0, "an error"));
  sockaddr none{.sa_family = AF_UNSPEC, .sa_data = {}};
  return ::connect(fd, &none, sizeof none) ? fail_errno("disconnect") : Result<>();
}

}  // namespace ks::engine::inet_socket
