// SPDX-License-Identifier: LGPL-2.1-or-later
// Raw sockets of IPv4 and IPv6, with options, filters of ICMP, bound, connected, in a multicast group; and, where the
// machine lets root have them, sockets that ping.
#include <linux/icmp.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <sys/socket.h>

#include "options.h"
#include "program.h"
#include "socket_name.h"

// By a number that lies between.
constexpr int kProtocol = 253;  // for experiments (RFC 3692)

static int make(int family, int type, int protocol) {
  int fd = socket(family, type, protocol);
  CHECK(fd >= 0);
  return fd;
}
static sockaddr_in loopback(uint32_t last, int port = 0) {
  return {.sin_family = AF_INET,
          .sin_port = htons(static_cast<uint16_t>(port)),
          .sin_addr = {htonl(INADDR_LOOPBACK - 1 + last)}};
}
static void hear(int fd, const std::string& text) {
  char bytes[256];
  await_input(fd);
  ssize_t got = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
  CHECK(got >= static_cast<ssize_t>(text.size()));
  CHECK(std::string(bytes + got - text.size(), text.size()) == text);
}
static bool is_empty(int fd) {
  char byte;
  return recv(fd, &byte, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN;
}
static icmphdr request() {
  icmphdr header{};
  header.type = ICMP_ECHO;
  return header;
}

int main() {
  int any = make(AF_INET, SOCK_RAW, kProtocol), bound = make(AF_INET, SOCK_RAW | SOCK_NONBLOCK, kProtocol),
      connected = make(AF_INET, SOCK_RAW, kProtocol), whole = make(AF_INET, SOCK_RAW, IPPROTO_RAW),
      icmp = make(AF_INET, SOCK_RAW, IPPROTO_ICMP), tcp = make(AF_INET, SOCK_RAW, IPPROTO_TCP);
  sockaddr_in second = loopback(2), third = loopback(3);
  CHECK(bind(bound, reinterpret_cast<sockaddr*>(&second), sizeof second) == 0);
  CHECK(bind(connected, reinterpret_cast<sockaddr*>(&third), sizeof third) == 0);
  CHECK(connect(connected, reinterpret_cast<sockaddr*>(&second), sizeof second) == 0);
  set(any, SOL_IP, IP_HDRINCL, 1);
  set(bound, SOL_IP, IP_TTL, 9);
  group_req group{.gr_interface = 1, .gr_group = {}};
  sockaddr_in address{.sin_family = AF_INET, .sin_addr = {htonl(0xe0000163)}};
  memcpy(&group.gr_group, &address, sizeof address);
  CHECK(setsockopt(bound, SOL_IP, MCAST_JOIN_GROUP, &group, sizeof group) == 0);
  icmp_filter none{~0u};
  CHECK(setsockopt(icmp, SOL_RAW, ICMP_FILTER, &none, sizeof none) == 0);
  // Connections of others go by.
  sockaddr_in elsewhere = loopback(77);
  CHECK(bind(tcp, reinterpret_cast<sockaddr*>(&elsewhere), sizeof elsewhere) == 0);
  bool six = access("/proc/net/if_inet6", F_OK) == 0;
  int six_any = six ? make(AF_INET6, SOCK_RAW, kProtocol) : -1,
      six_icmp = six ? make(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6) : -1;
  icmp6_filter filter;
  if (six) {
    set(six_any, SOL_IPV6, IPV6_CHECKSUM, 4);
    set(six_any, SOL_IPV6, IPV6_UNICAST_HOPS, 5);
    sockaddr_in6 at{.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    CHECK(bind(six_any, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
    ICMP6_FILTER_SETBLOCKALL(&filter);
    CHECK(setsockopt(six_icmp, SOL_ICMPV6, ICMP6_FILTER, &filter, sizeof filter) == 0);
  }
  int pings = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP),
      pings6 = six ? socket(AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6) : -1;
  if (pings >= 0) {
    sockaddr_in ident = loopback(1, 4711);
    CHECK(bind(pings, reinterpret_cast<sockaddr*>(&ident), sizeof ident) == 0);
  }
  std::string names = name_of(bound) + name_of(connected) + name_of(whole);
  if (pings >= 0) names += name_of(pings);
  if (six) names += name_of(six_any);
  CHECK(is_empty(bound) && is_empty(connected));

  ready();

  std::string now_named = name_of(bound) + name_of(connected) + name_of(whole);
  if (pings >= 0) now_named += name_of(pings);
  if (six) now_named += name_of(six_any);
  CHECK(now_named == names);
  CHECK(number(any, SOL_IP, IP_HDRINCL) == 1 && number(bound, SOL_IP, IP_HDRINCL) == 0);
  CHECK(number(whole, SOL_IP, IP_HDRINCL) == 1 && number(bound, SOL_IP, IP_TTL) == 9);
  CHECK(setsockopt(bound, SOL_IP, MCAST_LEAVE_GROUP, &group, sizeof group) == 0);
  icmp_filter told{};
  socklen_t length = sizeof told;
  CHECK(getsockopt(icmp, SOL_RAW, ICMP_FILTER, &told, &length) == 0 && told.data == none.data);
  if (six) {
    icmp6_filter now_filter;
    length = sizeof now_filter;
    CHECK(getsockopt(six_icmp, SOL_ICMPV6, ICMP6_FILTER, &now_filter, &length) == 0);
    CHECK(memcmp(&now_filter, &filter, sizeof filter) == 0);
    CHECK(number(six_any, SOL_IPV6, IPV6_CHECKSUM) == 4 && number(six_any, SOL_IPV6, IPV6_UNICAST_HOPS) == 5);
  }
  // From 127.0.0.3 to 127.0.0.2, and back to who is connected to that.
  CHECK(write(connected, "there", 5) == 5);
  hear(bound, "there");
  CHECK(sendto(bound, "back", 4, 0, reinterpret_cast<sockaddr*>(&third), sizeof third) == 4);
  hear(connected, "back");
  CHECK(is_empty(bound));
  if (pings >= 0) {
    sockaddr_in to = loopback(1);
    icmphdr ping = request();
    CHECK(sendto(pings, &ping, sizeof ping, 0, reinterpret_cast<sockaddr*>(&to), sizeof to) == sizeof ping);
    CHECK(recv(pings, &ping, sizeof ping, 0) == sizeof ping && ping.type == ICMP_ECHOREPLY);
    CHECK(ping.un.echo.id == htons(4711));
  }
  CHECK(pings6 < 0 || fcntl(pings6, F_GETFD) >= 0);
}
