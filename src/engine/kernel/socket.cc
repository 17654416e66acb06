// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/socket.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/filter.h>
#include <linux/icmp.h>
#include <linux/if_packet.h>
#include <linux/in6.h>
#include <linux/netlink.h>
#include <linux/vm_sockets.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cstddef>
#include <cstring>

namespace ks::engine {

namespace {

// Newer than the headers of the oldest system that we build on.
constexpr int kReservedMemory = 73, kReceiveMark = 75, kPassPidfd = 76, kPassRights = 83, kReceivePriority = 82;
constexpr int kIpLocalPortRange = 51, kIpNoDefrag = 22, kPacketVnetHeaderSize = 24;

#define OPTION(level, name) \
  SocketOption { level, name, #name }

constexpr std::array kOfAll = {
    OPTION(SOL_SOCKET, SO_DEBUG),
    OPTION(SOL_SOCKET, SO_REUSEADDR),
    OPTION(SOL_SOCKET, SO_REUSEPORT),
    OPTION(SOL_SOCKET, SO_DONTROUTE),
    OPTION(SOL_SOCKET, SO_BROADCAST),
    OPTION(SOL_SOCKET, SO_KEEPALIVE),
    OPTION(SOL_SOCKET, SO_OOBINLINE),
    OPTION(SOL_SOCKET, SO_NO_CHECK),
    OPTION(SOL_SOCKET, SO_LINGER),
    OPTION(SOL_SOCKET, SO_RCVLOWAT),
    OPTION(SOL_SOCKET, SO_RCVTIMEO),
    OPTION(SOL_SOCKET, SO_SNDTIMEO),
    OPTION(SOL_SOCKET, SO_PASSCRED),
    OPTION(SOL_SOCKET, SO_PASSSEC),
    SocketOption{SOL_SOCKET, kPassPidfd, "SO_PASSPIDFD"},
    SocketOption{SOL_SOCKET, kPassRights, "SO_PASSRIGHTS"},
    OPTION(SOL_SOCKET, SO_TIMESTAMP),
    OPTION(SOL_SOCKET, SO_TIMESTAMPNS),
    OPTION(SOL_SOCKET, SO_TIMESTAMP_NEW),
    OPTION(SOL_SOCKET, SO_TIMESTAMPNS_NEW),
    OPTION(SOL_SOCKET, SO_TIMESTAMPING),
    OPTION(SOL_SOCKET, SO_BINDTODEVICE),
    OPTION(SOL_SOCKET, SO_MARK),
    OPTION(SOL_SOCKET, SO_RXQ_OVFL),
    OPTION(SOL_SOCKET, SO_WIFI_STATUS),
    OPTION(SOL_SOCKET, SO_PEEK_OFF),
    OPTION(SOL_SOCKET, SO_NOFCS),
    OPTION(SOL_SOCKET, SO_SELECT_ERR_QUEUE),
    OPTION(SOL_SOCKET, SO_BUSY_POLL),
    OPTION(SOL_SOCKET, SO_PREFER_BUSY_POLL),
    OPTION(SOL_SOCKET, SO_BUSY_POLL_BUDGET),
    OPTION(SOL_SOCKET, SO_MAX_PACING_RATE),
    OPTION(SOL_SOCKET, SO_ZEROCOPY),
    OPTION(SOL_SOCKET, SO_TXTIME),
    SocketOption{SOL_SOCKET, kReservedMemory, "SO_RESERVE_MEM"},
    OPTION(SOL_SOCKET, SO_TXREHASH),
    SocketOption{SOL_SOCKET, kReceiveMark, "SO_RCVMARK"},
    SocketOption{SOL_SOCKET, kReceivePriority, "SO_RCVPRIORITY"},
};
// These set the priority too, which is set after them.
constexpr std::array kOfInternet = {
    OPTION(SOL_IP, IP_TOS),
    OPTION(SOL_IP, IP_TTL),
    OPTION(SOL_IP, IP_MINTTL),
    OPTION(SOL_IP, IP_OPTIONS),
    OPTION(SOL_IP, IP_MTU_DISCOVER),
    OPTION(SOL_IP, IP_RECVERR),
    OPTION(SOL_IP, IP_RECVERR_RFC4884),
    OPTION(SOL_IP, IP_PKTINFO),
    OPTION(SOL_IP, IP_RECVTTL),
    OPTION(SOL_IP, IP_RECVTOS),
    OPTION(SOL_IP, IP_RECVOPTS),
    OPTION(SOL_IP, IP_RETOPTS),
    OPTION(SOL_IP, IP_RECVORIGDSTADDR),
    OPTION(SOL_IP, IP_RECVFRAGSIZE),
    OPTION(SOL_IP, IP_CHECKSUM),
    OPTION(SOL_IP, IP_PASSSEC),
    OPTION(SOL_IP, IP_FREEBIND),
    OPTION(SOL_IP, IP_TRANSPARENT),
    OPTION(SOL_IP, IP_BIND_ADDRESS_NO_PORT),
    OPTION(SOL_IP, IP_UNICAST_IF),
    SocketOption{SOL_IP, kIpLocalPortRange, "IP_LOCAL_PORT_RANGE"},
};
constexpr std::array kOfInternet6 = {
    OPTION(SOL_IPV6, IPV6_V6ONLY),           OPTION(SOL_IPV6, IPV6_UNICAST_HOPS),
    OPTION(SOL_IPV6, IPV6_UNICAST_IF),       OPTION(SOL_IPV6, IPV6_MTU_DISCOVER),
    OPTION(SOL_IPV6, IPV6_RECVERR),          OPTION(SOL_IPV6, IPV6_RECVERR_RFC4884),
    OPTION(SOL_IPV6, IPV6_RECVPKTINFO),      OPTION(SOL_IPV6, IPV6_2292PKTINFO),
    OPTION(SOL_IPV6, IPV6_RECVHOPLIMIT),     OPTION(SOL_IPV6, IPV6_2292HOPLIMIT),
    OPTION(SOL_IPV6, IPV6_RECVRTHDR),        OPTION(SOL_IPV6, IPV6_RECVHOPOPTS),
    OPTION(SOL_IPV6, IPV6_RECVDSTOPTS),      OPTION(SOL_IPV6, IPV6_RECVTCLASS),
    OPTION(SOL_IPV6, IPV6_RECVPATHMTU),      OPTION(SOL_IPV6, IPV6_RECVORIGDSTADDR),
    OPTION(SOL_IPV6, IPV6_RECVFRAGSIZE),     OPTION(SOL_IPV6, IPV6_FLOWINFO),
    OPTION(SOL_IPV6, IPV6_FLOWINFO_SEND),    OPTION(SOL_IPV6, IPV6_TCLASS),
    OPTION(SOL_IPV6, IPV6_DONTFRAG),         OPTION(SOL_IPV6, IPV6_AUTOFLOWLABEL),
    OPTION(SOL_IPV6, IPV6_ADDR_PREFERENCES), OPTION(SOL_IPV6, IPV6_MINHOPCOUNT),
    OPTION(SOL_IPV6, IPV6_FREEBIND),         OPTION(SOL_IPV6, IPV6_TRANSPARENT),
};
constexpr std::array kOfTcp = {
    OPTION(SOL_TCP, TCP_NODELAY),
    OPTION(SOL_TCP, TCP_CORK),
    OPTION(SOL_TCP, TCP_MAXSEG),
    OPTION(SOL_TCP, TCP_KEEPIDLE),
    OPTION(SOL_TCP, TCP_KEEPINTVL),
    OPTION(SOL_TCP, TCP_KEEPCNT),
    OPTION(SOL_TCP, TCP_SYNCNT),
    OPTION(SOL_TCP, TCP_LINGER2),
    OPTION(SOL_TCP, TCP_DEFER_ACCEPT),
    OPTION(SOL_TCP, TCP_WINDOW_CLAMP),
    OPTION(SOL_TCP, TCP_CONGESTION),
    OPTION(SOL_TCP, TCP_USER_TIMEOUT),
    OPTION(SOL_TCP, TCP_FASTOPEN),
    OPTION(SOL_TCP, TCP_FASTOPEN_KEY),
    OPTION(SOL_TCP, TCP_FASTOPEN_CONNECT),
    OPTION(SOL_TCP, TCP_FASTOPEN_NO_COOKIE),
    OPTION(SOL_TCP, TCP_SAVE_SYN),
    OPTION(SOL_TCP, TCP_NOTSENT_LOWAT),
    OPTION(SOL_TCP, TCP_THIN_LINEAR_TIMEOUTS),
    OPTION(SOL_TCP, TCP_INQ),
    OPTION(SOL_TCP, TCP_TX_DELAY),
    SocketOption{SOL_TCP, TCP_ULP, "TCP_ULP", false},
};
constexpr std::array kOfMulticast = {
    OPTION(SOL_IP, IP_MULTICAST_TTL),
    OPTION(SOL_IP, IP_MULTICAST_LOOP),
    OPTION(SOL_IP, IP_MULTICAST_ALL),
    OPTION(SOL_IP, IP_MULTICAST_IF),
};
constexpr std::array kOfMulticast6 = {
    OPTION(SOL_IPV6, IPV6_MULTICAST_HOPS),
    OPTION(SOL_IPV6, IPV6_MULTICAST_LOOP),
    OPTION(SOL_IPV6, IPV6_MULTICAST_ALL),
    OPTION(SOL_IPV6, IPV6_MULTICAST_IF),
};
constexpr std::array kOfUdp = {
    SocketOption{SOL_UDP, UDP_CORK, "UDP_CORK", false},
    OPTION(SOL_UDP, UDP_NO_CHECK6_TX),
    OPTION(SOL_UDP, UDP_NO_CHECK6_RX),
    SocketOption{SOL_UDP, UDP_ENCAP, "UDP_ENCAP", false},
    OPTION(SOL_UDP, UDP_SEGMENT),
    OPTION(SOL_UDP, UDP_GRO),
};
// udplite(7): whoever wants these constants writes them himself.
constexpr int kUdpLite = 136, kSendCoverage = 10, kReceiveCoverage = 11;
constexpr std::array kOfUdpLite = {
    SocketOption{kUdpLite, kSendCoverage, "UDPLITE_SEND_CSCOV"},
    SocketOption{kUdpLite, kReceiveCoverage, "UDPLITE_RECV_CSCOV"},
};
constexpr std::array kOfNetlink = {
    OPTION(SOL_NETLINK, NETLINK_PKTINFO),        OPTION(SOL_NETLINK, NETLINK_BROADCAST_ERROR),
    OPTION(SOL_NETLINK, NETLINK_NO_ENOBUFS),     OPTION(SOL_NETLINK, NETLINK_LISTEN_ALL_NSID),
    OPTION(SOL_NETLINK, NETLINK_CAP_ACK),        OPTION(SOL_NETLINK, NETLINK_EXT_ACK),
    OPTION(SOL_NETLINK, NETLINK_GET_STRICT_CHK),
};
constexpr std::array kOfRaw = {
    OPTION(SOL_IP, IP_HDRINCL),
    SocketOption{SOL_IP, kIpNoDefrag, "IP_NODEFRAG"},
    OPTION(SOL_RAW, ICMP_FILTER),
};
constexpr std::array kOfRaw6 = {
    OPTION(SOL_IPV6, IPV6_HDRINCL),
    OPTION(SOL_IPV6, IPV6_CHECKSUM),
    OPTION(SOL_ICMPV6, ICMP6_FILTER),
};
constexpr std::array kOfPacket = {
    OPTION(SOL_PACKET, PACKET_VERSION),
    OPTION(SOL_PACKET, PACKET_RESERVE),
    OPTION(SOL_PACKET, PACKET_AUXDATA),
    OPTION(SOL_PACKET, PACKET_ORIGDEV),
    OPTION(SOL_PACKET, PACKET_LOSS),
    OPTION(SOL_PACKET, PACKET_VNET_HDR),
    SocketOption{SOL_PACKET, kPacketVnetHeaderSize, "PACKET_VNET_HDR_SZ"},
    OPTION(SOL_PACKET, PACKET_TIMESTAMP),
    OPTION(SOL_PACKET, PACKET_TX_HAS_OFF),
    OPTION(SOL_PACKET, PACKET_QDISC_BYPASS),
    OPTION(SOL_PACKET, PACKET_IGNORE_OUTGOING),
};
constexpr std::array kOfVsock = {
    OPTION(AF_VSOCK, SO_VM_SOCKETS_BUFFER_MAX_SIZE),
    OPTION(AF_VSOCK, SO_VM_SOCKETS_BUFFER_MIN_SIZE),
    OPTION(AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE),
    OPTION(AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT_NEW),
};
constexpr SocketOption kPriority = OPTION(SOL_SOCKET, SO_PRIORITY);

#undef OPTION

template <size_t N>
void append(std::vector<SocketOption>& all, const std::array<SocketOption, N>& some) {
  all.insert(all.end(), some.begin(), some.end());
}

std::vector<SocketOption> list_options(int family, int type = 0, int protocol = 0) {
  std::vector<SocketOption> all;
  append(all, kOfAll);
  if (family == AF_INET || family == AF_INET6) append(all, kOfInternet);
  if (family == AF_INET6) append(all, kOfInternet6);
  if (family == AF_NETLINK) append(all, kOfNetlink);
  if (family == AF_PACKET) append(all, kOfPacket);
  if (family == AF_VSOCK) append(all, kOfVsock);
  if (protocol == IPPROTO_TCP) append(all, kOfTcp);
  if (has_datagram_ports(protocol)) append(all, kOfUdp);
  if (protocol == IPPROTO_UDPLITE) append(all, kOfUdpLite);
  if (type == SOCK_RAW && family == AF_INET) append(all, kOfRaw);
  if (type == SOCK_RAW && family == AF_INET6) append(all, kOfRaw6);
  // Of TCP there is no multicast, and the kernel uses its fields otherwise.
  if (type == SOCK_RAW || type == SOCK_DGRAM) {
    append(all, kOfMulticast);
    if (family == AF_INET6) append(all, kOfMulticast6);
  }
  all.push_back(kPriority);
  return all;
}

bool is_absent(int error) { return error == ENOPROTOOPT || error == EOPNOTSUPP; }

}  // namespace

bool has_datagram_ports(int protocol) { return protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE; }

Result<SocketType> socket_type(int fd) {
  return SocketType{.family = TRY(read_number(fd, SOL_SOCKET, SO_DOMAIN)),
                    .type = TRY(read_number(fd, SOL_SOCKET, SO_TYPE)),
                    .protocol = TRY(read_number(fd, SOL_SOCKET, SO_PROTOCOL))};
}

Result<Fd> make_socket(const SocketType& type) {
  Fd fd(::socket(type.family, type.type | SOCK_CLOEXEC, type.protocol));
  if (!fd) return fail_errno("socket");
  return fd;
}

std::span<const SocketOption> options_of(const SocketType& type) {
  static const auto unix_ = list_options(AF_UNIX), netlink = list_options(AF_NETLINK),
                    packet = list_options(AF_PACKET), vsock = list_options(AF_VSOCK);
  struct OfFamily {
    explicit OfFamily(int family)
        : tcp(list_options(family, SOCK_STREAM, IPPROTO_TCP)),
          udp(list_options(family, SOCK_DGRAM, IPPROTO_UDP)),
          udp_lite(list_options(family, SOCK_DGRAM, IPPROTO_UDPLITE)),
          ping(list_options(family, SOCK_DGRAM)),
          raw(list_options(family, SOCK_RAW)) {}
    std::vector<SocketOption> tcp, udp, udp_lite, ping, raw;
  };
  static const OfFamily four(AF_INET), six(AF_INET6);
  if (type.family == AF_UNIX) return unix_;
  if (type.family == AF_NETLINK) return netlink;
  if (type.family == AF_PACKET) return packet;
  if (type.family == AF_VSOCK) return vsock;
  const OfFamily& of = type.family == AF_INET ? four : six;
  if (type.type == SOCK_STREAM) return of.tcp;
  if (type.type == SOCK_RAW) return of.raw;
  if (type.protocol == IPPROTO_UDPLITE) return of.udp_lite;
  return type.protocol == IPPROTO_UDP ? of.udp : of.ping;
}

Result<std::optional<std::string>> read_option(int fd, const SocketOption& option) {
  char value[512];
  socklen_t length = sizeof value;
  if (::getsockopt(fd, option.level, option.name, value, &length) == 0) return std::string(value, length);
  if (is_absent(errno)) return std::nullopt;
  return fail_errno(std::string(option.label));
}

Result<> set_option(int fd, int level, int name, std::string_view value) {
  if (::setsockopt(fd, level, name, value.data(), static_cast<socklen_t>(value.size())))
    return fail_errno(fmt::format("socket option {} of level {}", name, level));
  return {};
}

Result<int> read_number(int fd, int level, int name) {
  int value = 0;
  socklen_t length = sizeof value;
  if (::getsockopt(fd, level, name, &value, &length))
    return fail_errno(fmt::format("socket option {} of level {}", name, level));
  return value;
}

Result<> set_number(int fd, int level, int name, int value) {
  return set_option(fd, level, name, {reinterpret_cast<const char*>(&value), sizeof value});
}

Result<std::string> read_filter(int fd) {
  socklen_t count = 0;  // of instructions, in and out
  if (::getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, nullptr, &count)) {
    if (errno == EACCES) return refuse("has a filter that cannot be read (SO_ATTACH_BPF)");
    return fail_errno("SO_GET_FILTER");
  }
  std::string filter(count * sizeof(sock_filter), '\0');
  if (count && ::getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, filter.data(), &count)) return fail_errno("SO_GET_FILTER");
  return filter;
}

Result<> attach_filter(int fd, std::string_view filter) {
  std::vector<sock_filter> code(filter.size() / sizeof(sock_filter));
  std::memcpy(code.data(), filter.data(), code.size() * sizeof(sock_filter));
  sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
  return set_option(fd, SOL_SOCKET, SO_ATTACH_FILTER, {reinterpret_cast<const char*>(&program), sizeof program});
}

Result<bool> has_error(int fd) {
  pollfd poll{.fd = fd, .events = 0, .revents = 0};
  if (::poll(&poll, 1, 0) < 0) return fail_errno("poll");
  return (poll.revents & POLLERR) != 0;
}

Result<uint64_t> network_of_socket(int fd) {
  uint64_t cookie = 0;
  socklen_t length = sizeof cookie;
  if (::getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &length)) return fail_errno("SO_NETNS_COOKIE");
  return cookie;
}

Result<> silence_connection(int fd) { return set_number(fd, SOL_TCP, TCP_REPAIR, 1); }

std::string kind_text(const SocketType& type) {
  bool of_internet = type.family == AF_INET || type.family == AF_INET6;
  if (of_internet && type.protocol == IPPROTO_MPTCP) return "MPTCP";
  if (of_internet && type.protocol == IPPROTO_SCTP) return "SCTP";
  if (type.family == AF_XDP) return "XDP";
  if (type.family == AF_VSOCK) return "virtual machines (vsock)";
  if (type.family == AF_ALG) return "the kernel's cryptography (AF_ALG)";
  return fmt::format("family {}, type {}, protocol {}", type.family, type.type, type.protocol);
}

std::string address_text(std::string_view address) {
  sockaddr_storage storage{};
  std::memcpy(&storage, address.data(), std::min(address.size(), sizeof storage));
  char text[INET6_ADDRSTRLEN] = "";
  switch (storage.ss_family) {
    case AF_INET: {
      const auto& in = reinterpret_cast<const sockaddr_in&>(storage);
      ::inet_ntop(AF_INET, &in.sin_addr, text, sizeof text);
      return fmt::format("{}:{}", text, ntohs(in.sin_port));
    }
    case AF_INET6: {
      const auto& in = reinterpret_cast<const sockaddr_in6&>(storage);
      ::inet_ntop(AF_INET6, &in.sin6_addr, text, sizeof text);
      return fmt::format("[{}]:{}", text, ntohs(in.sin6_port));
    }
    case AF_UNIX: {
      std::string_view path = address.substr(std::min(address.size(), offsetof(sockaddr_un, sun_path)));
      if (path.empty()) return "(unnamed)";
      if (path[0] == '\0') return fmt::format("@{}", path.substr(1));
      return std::string(path.substr(0, path.find('\0')));
    }
  }
  return fmt::format("(family {})", storage.ss_family);
}

}  // namespace ks::engine
