// SPDX-License-Identifier: LGPL-2.1-or-later
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <map>

#include "engine/context/socket_state.h"
#include "engine/kinds/inet_socket/address.h"
#include "engine/kinds/inet_socket/connection.h"
#include "engine/kinds/inet_socket/datagrams.h"
#include "engine/kinds/inet_socket/errors.h"
#include "engine/kinds/inet_socket/inet_socket.h"
#include "engine/kinds/inet_socket/interfaces.h"
#include "engine/kinds/inet_socket/multicast.h"
#include "engine/kinds/inet_socket/remains.h"
#include "engine/kinds/inet_socket/repair.h"
#include "engine/kinds/inet_socket/route.h"
#include "engine/kinds/inet_socket/urgent.h"

namespace ks::engine::inet_socket {

namespace {

using Socket = image::InetSocket;

Result<> bind_to(int fd, const image::SocketState& state, const std::string& address) {
  // What its own connections have left of it is in nobody's way, and its address may come later.
  bool six = state.family() == AF_INET6;
  int level = six ? SOL_IPV6 : SOL_IP, free_bind = six ? IPV6_FREEBIND : IP_FREEBIND;
  const std::string* reuse = find_option(state, SOL_SOCKET, SO_REUSEADDR);
  const std::string* free = find_option(state, level, free_bind);
  TRY(set_number(fd, SOL_SOCKET, SO_REUSEADDR, 1));
  TRY(set_number(fd, level, free_bind, 1));
  if (::bind(fd, reinterpret_cast<const sockaddr*>(address.data()), static_cast<socklen_t>(address.size())))
    return fail_errno("bind");
  if (!reuse) TRY(set_number(fd, SOL_SOCKET, SO_REUSEADDR, 0));
  if (!free) TRY(set_number(fd, level, free_bind, 0));
  return {};
}

Result<> connect_to(Restoring& restoring, int fd, const std::string& local, const std::string& peer) {
  if (!TRY(connect_anyhow(fd, peer)))
    restoring.unreachable.push_back(fmt::format("{} -> {}", address_text(local), address_text(peer)));
  return {};
}

// It stays under repair until release().
Result<> connect_again(Restoring& restoring, int fd, const Socket& socket, const std::string& local,
                       const std::string& peer) {
  image::TcpConnection connection;
  if (!connection.ParseFromString(socket.connection())) return fail("its record cannot be read");
  TRY(enter_repair(fd));
  TRY(bind_anyhow(fd, local));
  TRY(prepare_connection(fd, connection));
  TRY(connect_to(restoring, fd, local, peer));
  return with_wide_buffers(fd, connection.sent().data().size(), connection.received().data().size(),
                           [&] { return fill_connection(fd, connection); });
}

Result<> apply_networks(int fd, const Socket& socket) {
  TRY(apply_interfaces(fd, socket));
  TRY(apply_multicast_interface(fd, socket));
  for (const auto& membership : socket.memberships()) TRY(join(fd, membership));
  return {};
}

Result<Fd> take_passed(Restoring& restoring, const Socket& socket, const image::SocketState& state) {
  Fd fd = TRY(restoring.passed_sockets.take(state, TRY(address_now(socket.address(), socket.scope()))));
  TRY(apply_networks(fd.get(), socket));
  if (socket.listens() && ::listen(fd.get(), socket.backlog())) return fail_errno("listen");
  return fd;
}

using Endings = std::map<uint32_t, EndingConnection>;  // by id

// Those whose connection has ended with an error that is still to be told, or has left what only a peer can send.
Result<Endings> begin_endings(std::span<const Envelope> envelopes) {
  Endings endings;
  for (const Envelope& envelope : envelopes) {
    Socket socket;
    image::SocketState state;
    TRY(parse_body(envelope, socket));
    if (!socket.ended() || (!socket.error() && !socket.urgent())) continue;
    if (!state.ParseFromString(socket.state())) return fail("the image's record of a socket cannot be read");
    Fd fresh = TRY(make_socket(type_of(state)));
    endings.emplace(socket.id(),
                    TRY(in(address_text(socket.address()), EndingConnection::begin(std::move(fresh), socket))));
  }
  return endings;
}

Result<Fd> make_one(Restoring& restoring, Endings& endings, const Socket& socket) {
  image::SocketState state;
  if (!state.ParseFromString(socket.state())) return fail("the image's record of a socket cannot be read");
  std::string label = address_text(socket.address());
  if (socket.passed()) return in(label, take_passed(restoring, socket, state));
  std::string local = TRY(in(label, address_now(socket.address(), socket.scope())));
  std::string peer = TRY(in(label, address_now(socket.peer(), socket.scope())));
  auto ending = endings.find(socket.id());
  Fd fd = TRY(in(label, ending == endings.end() ? make_socket(type_of(state)) : ending->second.finish()));
  TRY(in(label, put_datagrams(fd.get(), socket)));
  if (socket.error() && !socket.ended()) TRY(in(label, send_to_nobody(fd.get())));
  TRY(in(label, apply_socket_state(fd.get(), state)));
  TRY(in(label, apply_networks(fd.get(), socket)));
  if (!socket.connection().empty()) {
    TRY(in(label, connect_again(restoring, fd.get(), socket, local, peer)));
    return fd;
  }
  if (socket.ended()) {
    TRY(in(label,
           ending != endings.end() ? bind_remains(fd.get(), local) : make_remains(fd.get(), local, socket.unread())));
    return fd;
  }
  if (!local.empty()) TRY(in(label, bind_to(fd.get(), state, local)));
  if (!peer.empty() && !socket.connecting()) TRY(in(label, connect_to(restoring, fd.get(), local, peer)));
  if (socket.listens() && ::listen(fd.get(), socket.backlog())) return fail_errno(label + ": listen");
  return fd;
}

// Others may have an end of it too, and hear of it.
Result<> put_urgent(int fd, const Socket& socket) {
  image::TcpConnection connection;
  if (!connection.ParseFromString(socket.connection())) return fail("its record cannot be read");
  if (!connection.has_urgent()) return {};
  std::string local = TRY(address_now(socket.address(), socket.scope()));
  std::string peer = TRY(address_now(socket.peer(), socket.scope()));
  return with_wide_buffers(fd, 0, connection.received().data().size() + 1,
                           [&] { return put_from_mark(fd, connection, local, peer); });
}

// It asks its peer once more.
Result<> connect_on(Restoring& restoring, int fd, const Socket& socket) {
  int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK)) return fail_errno("fcntl");
  auto connected = connect_to(restoring, fd, socket.address(), TRY(address_now(socket.peer(), socket.scope())));
  if (::fcntl(fd, F_SETFL, flags)) return fail_errno("fcntl");
  return connected;
}

Result<> release_one(Restoring& restoring, int fd, const Socket& socket) {
  if (socket.connecting()) return connect_on(restoring, fd, socket);
  image::SocketState state;
  image::TcpConnection connection;
  if (!state.ParseFromString(socket.state()) || !connection.ParseFromString(socket.connection()))
    return fail("its record cannot be read");
  bool reuse = find_option(state, SOL_SOCKET, SO_REUSEADDR);
  if (socket.ended()) return leave_repair(fd, reuse);
  auto resume = [&] { return resume_connection(fd, connection); };
  TRY(with_wide_buffers(fd, connection.sent().unsent(), 0, resume));
  return set_number(fd, SOL_SOCKET, SO_REUSEADDR, reuse);
}

}  // namespace

Result<Fds> make(Restoring& restoring, std::span<const Envelope> envelopes) {
  auto endings = TRY(begin_endings(envelopes));
  Fds made;
  for (const Envelope& envelope : envelopes) {
    Socket socket;
    TRY(parse_body(envelope, socket));
    made.emplace(socket.id(), TRY(make_one(restoring, endings, socket)));
  }
  for (const Envelope& envelope : envelopes) {
    Socket socket;
    TRY(parse_body(envelope, socket));
    if (!socket.connection().empty())
      TRY(in(address_text(socket.address()), put_urgent(made.at(socket.id()).get(), socket)));
  }
  return made;
}

Result<> release(Restoring& restoring, std::span<const Envelope> envelopes) {
  for (const Envelope& envelope : envelopes) {
    Socket socket;
    TRY(parse_body(envelope, socket));
    if (socket.connection().empty() && !socket.connecting() && !socket.ended()) continue;
    int fd = TRY(restoring.open_file(socket.id()));
    TRY(in(address_text(socket.address()), release_one(restoring, fd, socket)));
  }
  return {};
}

}  // namespace ks::engine::inet_socket

namespace ks::engine {

extern const Kind kInetSocket;
const Kind kInetSocket{.name = inet_socket::kName,
                       .version = inet_socket::kVersion,
                       .owns = inet_socket::owns,
                       .dump = inet_socket::dump,
                       .make = inet_socket::make,
                       .release = inet_socket::release};

}  // namespace ks::engine
