// SPDX-License-Identifier: LGPL-2.1-or-later
// Sockets of TCP and UDP over IPv4 and IPv6.
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <set>

#include "base/file.h"
#include "base/text.h"
#include "engine/context/passed_sockets.h"
#include "engine/context/socket_state.h"
#include "engine/inet_socket.pb.h"
#include "engine/kernel/socket_table.h"
#include "engine/kinds/inet_socket/connection.h"
#include "engine/kinds/inet_socket/repair.h"
#include "engine/kinds/inet_socket/route.h"
#include "engine/kinds/kind.h"

namespace ks::engine {

namespace {

using Socket = image::InetSocket;

constexpr std::string_view kName = "inet-socket";
constexpr uint32_t kVersion = 1;

bool owns(const OpenFile& file) {
  const auto& type = file.socket;
  if (!type || (type->family != AF_INET && type->family != AF_INET6)) return false;
  return (type->type == SOCK_STREAM && type->protocol == IPPROTO_TCP) ||
         (type->type == SOCK_DGRAM && type->protocol == IPPROTO_UDP);
}

template <class Call>  // getsockname or getpeername
Result<std::string> address_by(Call call, int fd) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (call(fd, reinterpret_cast<sockaddr*>(&address), &length)) return fail_errno("address");
  return std::string(reinterpret_cast<const char*>(&address), length);
}

template <class Address>
Address as(std::string_view bytes) {
  Address address{};
  std::ranges::copy(bytes.substr(0, sizeof address), reinterpret_cast<char*>(&address));
  return address;
}

bool is_bound(std::string_view address) {
  if (as<sockaddr>(address).sa_family == AF_INET) {
    auto in = as<sockaddr_in>(address);
    return in.sin_port || in.sin_addr.s_addr;
  }
  auto in = as<sockaddr_in6>(address);
  return in.sin6_port || !IN6_IS_ADDR_UNSPECIFIED(&in.sin6_addr);
}

// Interfaces have numbers that another kernel may give otherwise.
Result<std::string> scope_of(std::string_view address) {
  uint32_t index = as<sockaddr>(address).sa_family == AF_INET6 ? as<sockaddr_in6>(address).sin6_scope_id : 0;
  if (!index) return "";
  char name[IF_NAMESIZE];
  if (!::if_indextoname(index, name)) return fail_errno("if_indextoname");
  return name;
}

Result<tcp_info> info_of(int fd) {
  tcp_info info{};
  socklen_t length = sizeof info;
  if (::getsockopt(fd, SOL_TCP, TCP_INFO, &info, &length)) return fail_errno("TCP_INFO");
  return info;
}

// getpeername(2) says it only later.
Result<std::string> peer_while_connecting(const OpenFile& file) {
  auto entries = TRY(read_socket_table(IPPROTO_TCP));
  auto found = std::ranges::find(entries, file.stat.st_ino, &SocketEntry::inode);
  if (found != entries.end() && found->state == TCP_SYN_SENT) return found->peer;
  return refuse("is being connected to a peer that the kernel does not tell of; try again");
}

Result<> dump_tcp(int mine, const OpenFile& file, const tcp_info& info, Socket& out) {
  if (info.tcpi_state == TCP_LISTEN) {
    // Of a socket that listens: connections that wait, and how many may.
    if (info.tcpi_unacked) return refuse("has connections that nobody has accepted yet, which is not supported yet");
    out.set_listens(true);
    out.set_backlog(static_cast<int32_t>(info.tcpi_sacked));
    return {};
  }
  if (info.tcpi_state == TCP_SYN_SENT) {
    out.set_peer(TRY(peer_while_connecting(file)));
    out.set_connecting(true);
    return {};
  }
  if (info.tcpi_state != TCP_CLOSE)
    return refuse("is a TCP connection that is being made by TCP Fast Open; try again");
  if (TRY(inet_socket::has_ended_receiving(mine)))
    return refuse("is what a TCP connection has left, which is not supported yet");
  return {};
}

// As the kernel prints it: the bytes of an IPv4 address as one number, those of an IPv6 address one after the other.
std::optional<sockaddr_storage> group_address(int family, std::string_view digits) {
  sockaddr_storage storage{};
  if (family == AF_INET) {
    auto number = parse_number<uint32_t>(digits, 16);
    if (!number) return std::nullopt;
    sockaddr_in group{.sin_family = AF_INET};
    group.sin_addr.s_addr = *number;
    std::memcpy(&storage, &group, sizeof group);
    return storage;
  }
  sockaddr_in6 group{.sin6_family = AF_INET6};
  if (digits.size() != 2 * sizeof group.sin6_addr) return std::nullopt;
  for (size_t i = 0; i < sizeof group.sin6_addr; ++i) {
    auto byte = parse_number<uint8_t>(digits.substr(2 * i, 2), 16);
    if (!byte) return std::nullopt;
    group.sin6_addr.s6_addr[i] = *byte;
  }
  std::memcpy(&storage, &group, sizeof group);
  return storage;
}

// Whether it has joined a group, only the socket can tell, asked for each.
Result<> check_groups(int mine, int family) {
  std::string text = TRY(read_file(family == AF_INET ? "/proc/net/igmp" : "/proc/net/igmp6"));
  uint32_t index = 0;
  for (auto line : split(text, '\n')) {
    auto words = split_words(line);
    group_filter asked{};
    std::string_view digits;
    if (family == AF_INET) {
      // "2\teth0      :     1      V3", and below it one line for each group: "\t\t\t\tFB0000E0     1
      // 0:00000000\t\t0"
      if (!line.starts_with('\t') && !words.empty()) index = parse_number<uint32_t>(words[0]).value_or(0);
      if (line.starts_with('\t') && !words.empty()) digits = words[0];
    } else if (words.size() > 2) {
      // "2    eth0            ff020000000000000000000000000001     1 0000000C 0"
      index = parse_number<uint32_t>(words[0]).value_or(0);
      digits = words[2];
    }
    auto group = digits.empty() ? std::nullopt : group_address(family, digits);
    if (!group) continue;
    asked.gf_group = *group;
    asked.gf_interface = index;
    socklen_t length = sizeof asked;
    if (::getsockopt(mine, family == AF_INET ? SOL_IP : SOL_IPV6, MCAST_MSFILTER, &asked, &length) == 0)
      return refuse("has joined a multicast group, which is not supported yet");
  }
  return {};
}

Result<> dump_udp(int mine, const std::string& address) {
  pollfd poll{.fd = mine, .events = POLLIN, .revents = 0};
  if (::poll(&poll, 1, 0) < 0) return fail_errno("poll");
  if (poll.revents & POLLIN) return refuse("holds datagrams that nobody has read yet; try again");
  int sending = 0;
  if (::ioctl(mine, SIOCOUTQ, &sending)) return fail_errno("SIOCOUTQ");
  if (sending) return refuse("is sending a datagram; try again");
  for (int family : {AF_INET, AF_INET6})
    if (family == AF_INET || as<sockaddr>(address).sa_family == AF_INET6) TRY(check_groups(mine, family));
  return {};
}

// What the kernel changes by itself while a connection lasts, or what has done its work when it is made.
bool passes(const image::SocketState::Option& option) {
  constexpr std::array kPassing = {TCP_MAXSEG, TCP_WINDOW_CLAMP, TCP_FASTOPEN_CONNECT};
  return option.level() == SOL_TCP && std::ranges::find(kPassing, option.name()) != kPassing.end();
}

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
  std::string obstacle;  // why it cannot be carried
};

Result<Dumped> describe(Dumping& dumping, const OpenFile& file) {
  Dumped socket{.file = &file, .mine = TRY(file.fetch())};
  int mine = socket.mine.get();
  Socket& out = socket.out;
  out.set_id(file.id);
  std::string address = TRY(address_by(::getsockname, mine));
  out.set_passed(TRY(is_passed(dumping.outside, dumping.options, file)));
  socket.state = TRY(read_socket_state(dumping.fresh_sockets, file, mine));
  bool tcp = socket.state.protocol() == IPPROTO_TCP;
  if (tcp) socket.info = TRY(info_of(mine));
  socket.connection = tcp && inet_socket::is_connection(socket.info->tcpi_state);
  if (socket.connection) {
    socket.reuse = find_option(socket.state, SOL_SOCKET, SO_REUSEADDR);
    auto* options = socket.state.mutable_options();
    options->erase(std::remove_if(options->begin(), options->end(), passes), options->end());
  } else if (tcp) {
    TRY(dump_tcp(mine, file, *socket.info, out));
  } else {
    TRY(dump_udp(mine, address));
  }
  if (is_bound(address)) out.set_address(address);
  if (out.passed() && out.address().empty()) return refuse("is held by the service manager too, and has no address");
  if (out.passed() && (socket.connection || out.connecting()))
    return refuse("is a connection that the service manager holds too");
  if (auto peer = address_by(::getpeername, mine); peer && !out.listens() && !out.connecting())
    out.set_peer(*std::move(peer));
  out.set_scope(TRY(scope_of(out.peer().empty() ? address : out.peer())));
  out.set_state(socket.state.SerializeAsString());
  return socket;
}

// The same for IPv4 and its addresses in IPv6.
std::string end_of(std::string_view address) {
  if (as<sockaddr>(address).sa_family == AF_INET) {
    auto in = as<sockaddr_in>(address);
    return fmt::format("{:08x} {}", ntohl(in.sin_addr.s_addr), in.sin_port);
  }
  auto in = as<sockaddr_in6>(address);
  std::string text;
  size_t from = IN6_IS_ADDR_V4MAPPED(&in.sin6_addr) ? 12 : 0;
  for (size_t i = from; i < 16; ++i) text += fmt::format("{:02x}", in.sin6_addr.s6_addr[i]);
  return fmt::format("{} {}", text, in.sin6_port);
}

// Whom it waits for, if for anybody. An address of IPv6 that is none may stand for IPv4 too.
Result<> add_waiting(const Dumped& socket, std::vector<NetworkSocket>& out) {
  bool tcp = socket.state.protocol() == IPPROTO_TCP;
  const std::string& address = socket.out.address();
  if (address.empty() || (tcp && !socket.out.listens() && !socket.out.connecting())) return {};
  NetworkSocket waiting{tcp ? IPPROTO_TCP : IPPROTO_UDP, address, socket.out.peer()};
  out.push_back(waiting);
  if (as<sockaddr>(address).sa_family != AF_INET6) return {};
  auto in = as<sockaddr_in6>(address);
  if (!IN6_IS_ADDR_UNSPECIFIED(&in.sin6_addr) || TRY(read_number(socket.mine.get(), SOL_IPV6, IPV6_V6ONLY)))
    return {};
  sockaddr_in any{.sin_family = AF_INET, .sin_port = in.sin6_port};
  waiting.local.assign(reinterpret_cast<const char*>(&any), sizeof any);
  out.push_back(waiting);
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
Result<> look_again(Dumping& dumping, std::vector<Dumped>& sockets) {
  for (Dumped& socket : sockets) {
    if (!socket.info) continue;
    auto now = TRY(info_of(socket.mine.get()));
    bool same = now.tcpi_state == socket.info->tcpi_state && (!socket.out.listens() || now.tcpi_unacked == 0);
    if (same || (socket.connection && inet_socket::is_connection(now.tcpi_state))) continue;
    bool readable = socket.readable;
    auto described = describe(dumping, *socket.file);
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

// Of all at one moment: what one end has sent has arrived at the other end or has not.
class ConnectionReader {
 public:
  explicit ConnectionReader(std::vector<Dumped>& sockets) {
    for (Dumped& socket : sockets)
      if (socket.connection && socket.readable) connections_.push_back(&socket);
  }

  // Why one is refused is left with it.
  Result<> read() {
    constexpr int kTimes = 20;
    if (connections_.empty()) return {};
    inet_socket::RepairGuard guard;
    std::vector<inet_socket::RepairGuard::Charge> charges;
    charges.reserve(connections_.size());
    for (const Dumped* socket : connections_) charges.push_back({socket->mine.get(), socket->reuse});
    TRY(guard.start(charges));
    for (const Dumped* socket : connections_) TRY(inet_socket::enter_repair(socket->mine.get()));
    Result<bool> still = false;
    for (int i = 0; i < kTimes && still && !*still; ++i) still = read_once();
    for (const Dumped* socket : connections_) TRY(inet_socket::leave_repair(socket->mine.get(), socket->reuse));
    guard.dismiss();
    if (!TRY(std::move(still)))
      for (Dumped* socket : connections_)
        socket->obstacle = "is a TCP connection that does not come to rest; try again";
    return {};
  }

 private:
  // Whether nothing has moved meanwhile.
  Result<bool> read_once() {
    std::vector<inet_socket::Progress> before;
    before.reserve(connections_.size());
    for (const Dumped* socket : connections_) before.push_back(TRY(inet_socket::progress_of(socket->mine.get())));
    for (size_t i = 0; i < connections_.size(); ++i) {
      Dumped* socket = connections_[i];
      auto connection = inet_socket::read_connection(socket->mine.get(), before[i]);
      socket->obstacle.clear();
      if (!connection && connection.error().code == EAGAIN) return false;
      if (!connection && connection.error().refusal)
        socket->obstacle = connection.error().what;
      else
        socket->out.set_connection(TRY(std::move(connection)).SerializeAsString());
    }
    for (size_t i = 0; i < connections_.size(); ++i)
      if (TRY(inet_socket::progress_of(connections_[i]->mine.get())) != before[i]) return false;
    return true;
  }

  std::vector<Dumped*> connections_;
};

Result<> dump(Dumping& dumping, std::span<const OpenFile> files) {
  std::vector<Dumped> sockets;
  for (const OpenFile& file : files) {
    auto described = describe(dumping, file);
    if (TRY(is_done(dumping, file, described ? Result<>() : std::unexpected(described.error()))))
      sockets.push_back(*std::move(described));
  }
  TRY(hold_sockets(dumping, sockets));
  TRY(look_again(dumping, sockets));
  TRY(ConnectionReader(sockets).read());
  for (Dumped& socket : sockets) {
    if (!socket.obstacle.empty()) dumping.refuse(socket.file->pid, socket.file->object(), socket.obstacle);
    dumping.put_file(kName, kVersion, socket.out);
    if (socket.connection) dumping.connections.push_back(std::move(socket.mine));
  }
  return {};
}

// With the interface's number of now.
Result<std::string> address_now(std::string address, const std::string& scope) {
  if (scope.empty() || as<sockaddr>(address).sa_family != AF_INET6) return address;
  auto in = as<sockaddr_in6>(address);
  if (!in.sin6_scope_id) return address;
  in.sin6_scope_id = ::if_nametoindex(scope.c_str());
  if (!in.sin6_scope_id) return fail(fmt::format("{}: no such interface", scope));
  return std::string(reinterpret_cast<const char*>(&in), sizeof in);
}

Result<> bind_to(int fd, const image::SocketState& state, const std::string& address) {
  // What its own connections have left of it is in nobody's way, and its address may come later.
  const std::string* reuse = find_option(state, SOL_SOCKET, SO_REUSEADDR);
  const std::string* free = find_option(state, SOL_IP, IP_FREEBIND);
  TRY(set_number(fd, SOL_SOCKET, SO_REUSEADDR, 1));
  TRY(set_number(fd, SOL_IP, IP_FREEBIND, 1));
  if (::bind(fd, reinterpret_cast<const sockaddr*>(address.data()), static_cast<socklen_t>(address.size())))
    return fail_errno("bind");
  if (!reuse) TRY(set_number(fd, SOL_SOCKET, SO_REUSEADDR, 0));
  if (!free) TRY(set_number(fd, SOL_IP, IP_FREEBIND, 0));
  return {};
}

Result<> connect_to(Restoring& restoring, int fd, const std::string& local, const std::string& peer) {
  if (!TRY(inet_socket::connect_anyhow(fd, peer)))
    restoring.unreachable.push_back(fmt::format("{} -> {}", address_text(local), address_text(peer)));
  return {};
}

// It stays under repair until release().
Result<> connect_again(Restoring& restoring, int fd, const Socket& socket, const std::string& local,
                       const std::string& peer) {
  image::TcpConnection connection;
  if (!connection.ParseFromString(socket.connection())) return fail("its record cannot be read");
  TRY(inet_socket::enter_repair(fd));
  TRY(inet_socket::bind_anyhow(fd, local));
  TRY(inet_socket::prepare_connection(fd, connection));
  TRY(connect_to(restoring, fd, local, peer));
  return with_wide_buffers(fd, connection.sent().data().size(), connection.received().data().size(),
                           [&] { return inet_socket::fill_connection(fd, connection); });
}

Result<Fd> take_passed(Restoring& restoring, const Socket& socket, const image::SocketState& state) {
  Fd fd = TRY(restoring.passed_sockets.take(state, TRY(address_now(socket.address(), socket.scope()))));
  if (socket.listens() && ::listen(fd.get(), socket.backlog())) return fail_errno("listen");
  return fd;
}

Result<Fd> make_one(Restoring& restoring, const Socket& socket) {
  image::SocketState state;
  if (!state.ParseFromString(socket.state())) return fail("the image's record of a socket cannot be read");
  std::string label = address_text(socket.address());
  if (socket.passed()) return in(label, take_passed(restoring, socket, state));
  Fd fd = TRY(make_socket(type_of(state)));
  TRY(in(label, apply_socket_state(fd.get(), state)));
  std::string local = TRY(in(label, address_now(socket.address(), socket.scope())));
  std::string peer = TRY(in(label, address_now(socket.peer(), socket.scope())));
  if (!socket.connection().empty()) {
    TRY(in(label, connect_again(restoring, fd.get(), socket, local, peer)));
    return fd;
  }
  if (!local.empty()) TRY(in(label, bind_to(fd.get(), state, local)));
  if (!peer.empty() && !socket.connecting()) TRY(in(label, connect_to(restoring, fd.get(), local, peer)));
  if (socket.listens() && ::listen(fd.get(), socket.backlog())) return fail_errno(label + ": listen");
  return fd;
}

Result<Fds> make(Restoring& restoring, std::span<const Envelope> envelopes) {
  return make_each(restoring, envelopes, make_one);
}

// It asks its peer once more.
Result<> connect_on(Restoring& restoring, int fd, const Socket& socket) {
  int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK)) return fail_errno("fcntl");
  auto connected = connect_to(restoring, fd, socket.address(), TRY(address_now(socket.peer(), socket.scope())));
  if (::fcntl(fd, F_SETFL, flags)) return fail_errno("fcntl");
  return connected;
}

Result<> release_one(int fd, const Socket& socket) {
  image::SocketState state;
  image::TcpConnection connection;
  if (!state.ParseFromString(socket.state()) || !connection.ParseFromString(socket.connection()))
    return fail("its record cannot be read");
  auto resume = [&] { return inet_socket::resume_connection(fd, connection); };
  TRY(with_wide_buffers(fd, connection.sent().unsent(), 0, resume));
  return set_number(fd, SOL_SOCKET, SO_REUSEADDR, find_option(state, SOL_SOCKET, SO_REUSEADDR) != nullptr);
}

Result<> release(Restoring& restoring, std::span<const Envelope> envelopes) {
  for (const Envelope& envelope : envelopes) {
    Socket socket;
    TRY(parse_body(envelope, socket));
    if (socket.connection().empty() && !socket.connecting()) continue;
    int fd = TRY(restoring.open_file(socket.id()));
    TRY(in(address_text(socket.address()),
           socket.connecting() ? connect_on(restoring, fd, socket) : release_one(fd, socket)));
  }
  return {};
}

}  // namespace

extern const Kind kInetSocket;
const Kind kInetSocket{
    .name = kName, .version = kVersion, .owns = owns, .dump = dump, .make = make, .release = release};

}  // namespace ks::engine
