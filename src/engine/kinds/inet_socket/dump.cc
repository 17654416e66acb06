// SPDX-License-Identifier: LGPL-2.1-or-later
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <set>

#include "base/file.h"
#include "base/text.h"
#include "engine/context/passed_sockets.h"
#include "engine/context/socket_state.h"
#include "engine/context/waiting.h"
#include "engine/kernel/socket_table.h"
#include "engine/kinds/inet_socket/address.h"
#include "engine/kinds/inet_socket/connection.h"
#include "engine/kinds/inet_socket/datagrams.h"
#include "engine/kinds/inet_socket/errors.h"
#include "engine/kinds/inet_socket/inet_socket.h"
#include "engine/kinds/inet_socket/interfaces.h"
#include "engine/kinds/inet_socket/multicast.h"
#include "engine/kinds/inet_socket/remains.h"
#include "engine/kinds/inet_socket/repair.h"

namespace ks::engine::inet_socket {

namespace {

using Socket = image::InetSocket;

Result<tcp_info> info_of(int fd) {
  tcp_info info{};
  socklen_t length = sizeof info;
  if (::getsockopt(fd, SOL_TCP, TCP_INFO, &info, &length)) return fail_errno("TCP_INFO");
  return info;
}

// What no socket tells of itself.
struct Survey {
  std::optional<MulticastGroups> groups;
  std::map<int, std::map<uint64_t, SocketEntry>> tables;  // by protocol and inode

  // What getpeername(2) does not say: whom a socket in this state is connecting to, or is connected to at no port.
  Result<std::string> peer_of(const OpenFile& file, int protocol, int state) {
    auto [table, is_new] = tables.try_emplace(protocol);
    if (is_new)
      for (SocketEntry& entry : TRY(read_socket_table(protocol))) table->second[entry.inode] = std::move(entry);
    auto found = table->second.find(file.stat.st_ino);
    return found != table->second.end() && found->second.state == state ? found->second.peer : "";
  }
};

// A socket while it is dumped.
struct Dumped {
  const OpenFile* file = nullptr;
  Fd mine;
  image::SocketState state;
  Socket out;
  bool connection = false;       // of TCP, with a peer
  std::optional<tcp_info> info;  // of TCP
  bool reuse = false;
  bool readable = true;
  uint32_t datagrams = 0;  // at least, where the kernel lets us see
  std::string obstacle;    // why it cannot be carried

  bool looks_ahead() const { return find_option(state, SOL_SOCKET, SO_PEEK_OFF); }
};

using Insides = Result<std::map<int, SocketInsides>>;  // by descriptor of ours

// One without a peer.
Result<> dump_tcp(Dumped& socket, Survey& survey) {
  int mine = socket.mine.get();
  Socket& out = socket.out;
  switch (socket.info->tcpi_state) {
    case TCP_LISTEN:
      // Of a socket that listens: connections that wait, and how many may.
      if (socket.info->tcpi_unacked)
        return refuse_for_now("has connections that nobody has accepted yet, which is not supported yet");
      out.set_listens(true);
      out.set_backlog(static_cast<int32_t>(socket.info->tcpi_sacked));
      return {};
    case TCP_SYN_SENT:
      out.set_peer(TRY(survey.peer_of(*socket.file, IPPROTO_TCP, TCP_SYN_SENT)));
      if (out.peer().empty()) return refuse_for_now("is being connected to a peer that the kernel does not tell of");
      out.set_connecting(true);
      return {};
    case TCP_CLOSE:
      out.set_ended(TRY(has_remains(mine)));
      return {};
    default:
      return refuse_for_now("is a TCP connection that is being made by TCP Fast Open");
  }
}

bool is_raw(const Dumped& socket) { return socket.state.type() == SOCK_RAW; }

// Under which name the kernel lists sockets of this kind.
int table_of(const Dumped& socket) {
  if (is_raw(socket)) return IPPROTO_RAW;
  return has_datagram_ports(socket.state.protocol()) ? socket.state.protocol() : int{IPPROTO_ICMP};
}

// Only sockets of these protocols become multicast routers, and this tells that there is one.
Result<> check_for_router(const Dumped& socket) {
  bool six = socket.state.family() == AF_INET6;
  if (!is_raw(socket) || socket.state.protocol() != (six ? int{IPPROTO_ICMPV6} : int{IPPROTO_IGMP})) return {};
  auto forwards = read_file(fmt::format("/proc/sys/net/ipv{}/conf/all/mc_forwarding", six ? 6 : 4));
  if (forwards && trim(*forwards) != "0")
    return refuse("may be that of the multicast router of this machine, which is not supported yet");
  return {};
}

Result<> dump_datagram_socket(Dumped& socket, const std::string& address, Survey& survey) {
  int mine = socket.mine.get();
  if (TRY(bytes_being_sent(mine))) return refuse_for_now("is sending a datagram");
  TRY(check_for_router(socket));
  bool six = as<sockaddr>(address).sa_family == AF_INET6;
  if (!survey.groups) survey.groups = TRY(MulticastGroups::read());
  if (!six || !is_raw(socket)) TRY(survey.groups->read_memberships(mine, AF_INET, socket.out));
  if (six) TRY(survey.groups->read_memberships(mine, AF_INET6, socket.out));
  if (auto peer = address_by(::getpeername, mine))
    socket.out.set_peer(*std::move(peer));
  else
    socket.out.set_peer(TRY(survey.peer_of(*socket.file, table_of(socket), TCP_ESTABLISHED)));
  return {};
}

// Who asks for it takes it away.
Result<> dump_error(Dumped& socket, const Insides& insides) {
  constexpr std::string_view kWhat = "has an error that nobody has read yet (SO_ERROR";
  bool ended = socket.info && socket.info->tcpi_state == TCP_CLOSE;
  bool udp = !socket.info && has_datagram_ports(table_of(socket));
  bool queues = find_option(socket.state, SOL_IP, IP_RECVERR) || find_option(socket.state, SOL_IPV6, IPV6_RECVERR);
  if ((!ended && !udp) || queues || socket.out.passed())
    return refuse_for_now(fmt::format("{}, MSG_ERRQUEUE)", kWhat));
  if (!insides)
    return refuse_for_now(
        fmt::format("{}), and the kernel does not let us see which: {}", kWhat, insides.error().what));
  auto found = insides->find(socket.mine.get());
  if (found == insides->end() || !found->second.error) return refuse_for_now(fmt::format("{}, MSG_ERRQUEUE)", kWhat));
  const SocketInsides& inside = found->second;
  if (!can_happen_again(ended, inside))
    return refuse_for_now(fmt::format("{}: {}), which is not supported yet", kWhat, ::strerrorname_np(inside.error)));
  socket.out.set_error(inside.error);
  socket.out.set_peer_ended(inside.peer_ended);
  return {};
}

Result<> look_inside(Dumped& socket, const Insides& insides) {
  if (TRY(has_error(socket.mine.get()))) TRY(dump_error(socket, insides));
  const SocketInsides* found = nullptr;
  if (insides)
    if (auto entry = insides->find(socket.mine.get()); entry != insides->end()) found = &entry->second;
  if (found && socket.info && found->signs)
    return refuse("has keys for its segments (TCP_MD5SIG, TCP_AO_ADD_KEY), which is not supported yet");
  if (found && found->has_policy)
    return refuse("has policies of IPsec of its own (IP_XFRM_POLICY, IPV6_XFRM_POLICY), which is not supported yet");
  if (found && found->has_chooser)
    return refuse(
        "belongs to a port among whose sockets a program chooses (SO_ATTACH_REUSEPORT_EBPF), which is not supported "
        "yet");
  if (socket.out.ended()) return read_remains(socket.mine.get(), socket.state, found, socket.out);
  if (socket.info || !found) return {};
  socket.datagrams = found->datagrams;
  TRY(name_multicast_interface(socket.state, found->multicast_interface, socket.out));
  socket.out.set_state(socket.state.SerializeAsString());
  return {};
}

// What no call tells, or tells once.
Result<> look_inside(std::vector<Dumped>& sockets) {
  if (sockets.empty()) return {};
  Insides insides = look_into_sockets();
  for (Dumped& socket : sockets) {
    auto looked = look_inside(socket, insides);
    if (!looked && !looked.error().refusal) return looked;
    if (!looked) socket.obstacle = looked.error().what;
  }
  return {};
}

// What the kernel changes by itself while a connection lasts, or what has done its work when it is made.
bool passes(const image::SocketState::Option& option) {
  constexpr std::array kPassing = {TCP_MAXSEG, TCP_WINDOW_CLAMP, TCP_FASTOPEN_CONNECT};
  return option.level() == SOL_TCP && std::ranges::find(kPassing, option.name()) != kPassing.end();
}

template <class Predicate>
void drop_options(image::SocketState& state, Predicate predicate) {
  auto* options = state.mutable_options();
  options->erase(std::remove_if(options->begin(), options->end(), predicate), options->end());
}

Result<> check_makable(const SocketType& type) {
  if (type.type != SOCK_DGRAM || has_datagram_ports(type.protocol)) return {};
  if (auto fresh = make_socket(type); !fresh && fresh.error().code == EACCES)
    return refuse("is for pings, which this machine does not let root make (net.ipv4.ping_group_range)");
  return {};
}

Result<Dumped> describe(Dumping& dumping, const OpenFile& file, Survey& survey) {
  Dumped socket{.file = &file, .mine = TRY(file.fetch())};
  int mine = socket.mine.get();
  Socket& out = socket.out;
  out.set_id(file.id);
  std::string address = TRY(address_by(::getsockname, mine));
  out.set_passed(TRY(is_passed(dumping.outside, dumping.options, file)));
  TRY(check_makable(*file.socket));
  socket.state = TRY(read_socket_state(dumping.fresh_sockets, file, mine, true));
  bool tcp = socket.state.type() == SOCK_STREAM;
  if (tcp) socket.info = TRY(info_of(mine));
  socket.connection = tcp && is_connection(socket.info->tcpi_state);
  if (socket.connection && socket.looks_ahead())
    return refuse("looks ahead in what it has received (SO_PEEK_OFF), which is not supported yet");
  if (!tcp)
    TRY(dump_datagram_socket(socket, address, survey));
  else if (!socket.connection)
    TRY(dump_tcp(socket, survey));
  if (socket.connection || out.ended()) {
    socket.reuse = find_option(socket.state, SOL_SOCKET, SO_REUSEADDR);
    drop_options(socket.state, passes);
  }
  TRY(name_interfaces(socket.state, out));
  drop_options(socket.state, names_interface);
  if (is_bound(address, !is_raw(socket))) out.set_address(address);
  if (out.passed() && out.address().empty()) return refuse("is held by the service manager too, and has no address");
  if (out.passed() && (socket.connection || out.connecting() || out.ended()))
    return refuse("is a connection that the service manager holds too");
  if (out.ended() && out.address().empty())
    return refuse("has been shut down without a connection, which is not supported yet");
  if (socket.connection) out.set_peer(TRY(address_by(::getpeername, mine)));
  out.set_scope(TRY(scope_of(out.peer().empty() ? address : out.peer())));
  out.set_state(socket.state.SerializeAsString());
  return socket;
}

// Whom it waits for, if for anybody.
Result<> add_waiting(const Dumped& socket, std::vector<NetworkSocket>& out) {
  bool tcp = socket.info.has_value();
  const std::string& address = socket.out.address();
  bool udp = has_datagram_ports(socket.state.protocol()) && !is_raw(socket);
  if (address.empty() || (tcp ? !socket.out.listens() && !socket.out.connecting() : !udp)) return {};
  int protocol = socket.state.protocol();
  out.push_back({protocol, address, socket.out.peer()});
  if (auto four = TRY(address_for_ipv4(socket.mine.get(), address)))
    out.push_back({protocol, *std::move(four), socket.out.peer()});
  return {};
}

// Those that lead to somebody who goes on meanwhile. Where that is not held back, they are left alone.
Result<> hold_sockets(Dumping& dumping, std::vector<Dumped>& sockets) {
  std::set<std::pair<std::string, std::string>> ends;
  for (const Dumped& socket : sockets)
    if (socket.connection) ends.emplace(end_of(socket.out.address()), end_of(socket.out.peer()));
  std::vector<NetworkSocket> outside;
  for (Dumped& socket : sockets) {
    if (!socket.connection) TRY(add_waiting(socket, outside));
    if (!socket.connection || ends.contains({end_of(socket.out.peer()), end_of(socket.out.address())})) continue;
    outside.push_back({IPPROTO_TCP, socket.out.address(), socket.out.peer()});
    socket.readable = dumping.options.hold && dumping.image;
    if (!dumping.options.hold)
      socket.obstacle = fmt::format("is a TCP connection to {}, and nobody holds back what that sends meanwhile{}{}",
                                    address_text(socket.out.peer()), dumping.options.no_hold.empty() ? "" : ": ",
                                    dumping.options.no_hold);
  }
  if (outside.empty() || !dumping.options.hold || !dumping.image) return {};
  return in("hold", dumping.options.hold(outside));
}

// What has come in before all was held back may have changed what a socket is.
Result<> look_again(Dumping& dumping, std::vector<Dumped>& sockets, Survey& survey) {
  for (Dumped& socket : sockets) {
    if (!socket.info) continue;
    auto now = TRY(info_of(socket.mine.get()));
    bool same = now.tcpi_state == socket.info->tcpi_state && (!socket.out.listens() || now.tcpi_unacked == 0);
    if (same || (socket.connection && is_connection(now.tcpi_state))) continue;
    bool readable = socket.readable;
    auto described = describe(dumping, *socket.file, survey);
    if (!described && !described.error().refusal) return std::unexpected(described.error());
    if (!described) {
      socket.obstacle = described.error().what;
      continue;
    }
    socket = *std::move(described);
    socket.readable = readable;
  }
  return {};
}

// Nothing comes through to them any more.
Result<> read_unread(Dumping& dumping, std::vector<Dumped>& sockets) {
  for (Dumped& socket : sockets) {
    if (socket.info || !TRY(has_datagrams(socket.mine.get()))) continue;
    Result<> done =
        socket.looks_ahead()
            ? refuse_for_now("holds datagrams, and looks ahead in them (SO_PEEK_OFF), which is not supported yet")
            : Result<>();
    // A look at them would take it.
    if (done && TRY(has_error(socket.mine.get())))
      done = refuse_for_now("has an error that nobody has read yet (SO_ERROR), and holds datagrams");
    if (done && !has_datagram_ports(table_of(socket)))
      done = refuse_for_now("holds packets that nobody has read yet, which is not supported yet");
    if (done && socket.out.passed())
      done = refuse_for_now("holds datagrams that nobody has read yet, and is held by the service manager too");
    if (done && dumping.image) done = read_datagrams(socket.mine.get(), socket.out);
    if (done && dumping.image && static_cast<uint32_t>(socket.out.datagrams_size()) < socket.datagrams)
      done = refuse_for_now("holds empty datagrams that have been looked at (MSG_PEEK), which hides them from us");
    if (!done && !done.error().refusal) return done;
    if (!done) socket.obstacle = done.error().what;
  }
  return {};
}

// Which is delivered anew, when the socket has all else.
bool filters_urgent(const Dumped& socket, const std::string& record) {
  image::TcpConnection connection;
  return !socket.state.filter().empty() && connection.ParseFromString(record) && connection.has_urgent();
}

// Why one is refused is left with it.
Result<> read_connections_of(std::vector<Dumped>& sockets) {
  std::vector<Dumped*> readable;
  std::vector<RunningConnection> connections;
  for (Dumped& socket : sockets) {
    if (!socket.connection || !socket.readable || !socket.obstacle.empty()) continue;
    readable.push_back(&socket);
    bool in_line = find_option(socket.state, SOL_SOCKET, SO_OOBINLINE);
    connections.push_back({socket.mine.get(), socket.reuse, in_line});
  }
  if (connections.empty()) return {};
  auto tried = read_connections(connections);
  if (!tried && tried.error().refusal)
    for (Dumped* socket : readable) socket->obstacle = tried.error().what;
  if (!tried) return tried.error().refusal ? Result<>() : std::unexpected(tried.error());
  auto& read = *tried;
  for (size_t i = 0; i < readable.size(); ++i)
    if (!read.rests()) {
      readable[i]->obstacle = for_now("is a TCP connection that does not come to rest");
    } else {
      auto& reading = *read.mutable_readings(static_cast<int>(i));
      readable[i]->obstacle = reading.obstacle();
      if (filters_urgent(*readable[i], reading.connection()))
        readable[i]->obstacle = for_now("holds urgent data and has a filter, which is not supported yet");
      readable[i]->out.set_connection(std::move(*reading.mutable_connection()));
    }
  return {};
}

}  // namespace

bool owns(const OpenFile& file) {
  const auto& type = file.socket;
  if (!type || (type->family != AF_INET && type->family != AF_INET6)) return false;
  int ping = type->family == AF_INET ? int{IPPROTO_ICMP} : int{IPPROTO_ICMPV6};
  return type->type == SOCK_RAW || (type->type == SOCK_STREAM && type->protocol == IPPROTO_TCP) ||
         (type->type == SOCK_DGRAM && (has_datagram_ports(type->protocol) || type->protocol == ping));
}

Result<> dump(Dumping& dumping, std::span<const OpenFile> files) {
  Survey survey;
  std::vector<Dumped> sockets;
  for (const OpenFile& file : files) {
    auto described = describe(dumping, file, survey);
    if (TRY(is_done(dumping, file, described ? Result<>() : std::unexpected(described.error()))))
      sockets.push_back(*std::move(described));
  }
  TRY(hold_sockets(dumping, sockets));
  TRY(look_again(dumping, sockets, survey));
  TRY(look_inside(sockets));
  TRY(read_unread(dumping, sockets));
  TRY(read_connections_of(sockets));
  for (Dumped& socket : sockets) {
    if (!socket.obstacle.empty()) dumping.refuse(socket.file->pid, socket.file->object(), socket.obstacle);
    if (socket.state.protocol() == IPPROTO_UDPLITE && !is_raw(socket))
      dumping.remark(socket.file->pid, socket.file->object(),
                     "is of UDP-Lite, which Linux 7.1 and later lack: there the service starts afresh");
    dumping.put_file(kName, kVersion, socket.out);
    if (socket.connection) dumping.connections.push_back(std::move(socket.mine));
  }
  return {};
}

}  // namespace ks::engine::inet_socket
