// SPDX-License-Identifier: LGPL-2.1-or-later
// Multicast groups of the loopback interface: from anybody, from all but one, from two senders only, over IPv4 and
// IPv6; one receiver hears what is sent to its group.
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include <algorithm>
#include <vector>

#include "program.h"

constexpr unsigned kLoopback = 1;  // interface

static sockaddr_storage four(uint32_t address, int port = 0) {
  sockaddr_storage storage{};
  sockaddr_in in{.sin_family = AF_INET, .sin_port = htons(static_cast<uint16_t>(port)), .sin_addr = {htonl(address)}};
  memcpy(&storage, &in, sizeof in);
  return storage;
}
static sockaddr_storage six(uint8_t last) {
  sockaddr_storage storage{};
  sockaddr_in6 in{.sin6_family = AF_INET6};
  in.sin6_addr.s6_addr[0] = 0xff;
  in.sin6_addr.s6_addr[1] = 0x05;
  in.sin6_addr.s6_addr[15] = last;
  memcpy(&storage, &in, sizeof in);
  return storage;
}
static int level_of(const sockaddr_storage& group) { return group.ss_family == AF_INET ? SOL_IP : SOL_IPV6; }

static void join(int fd, const sockaddr_storage& group) {
  group_req request{.gr_interface = kLoopback, .gr_group = group};
  CHECK(setsockopt(fd, level_of(group), MCAST_JOIN_GROUP, &request, sizeof request) == 0);
}
static void choose(int fd, int how, const sockaddr_storage& group, const sockaddr_storage& source) {
  group_source_req request{.gsr_interface = kLoopback, .gsr_group = group, .gsr_source = source};
  CHECK(setsockopt(fd, level_of(group), how, &request, sizeof request) == 0);
}

// Mode and sources, or "none".
static std::string filter_of(int fd, const sockaddr_storage& group) {
  std::vector<char> buffer(GROUP_FILTER_SIZE(8));
  group_filter asked{};
  asked.gf_interface = kLoopback;
  asked.gf_group = group;
  asked.gf_numsrc = 8;
  memcpy(buffer.data(), &asked, GROUP_FILTER_SIZE(0));
  auto length = static_cast<socklen_t>(buffer.size());
  if (getsockopt(fd, level_of(group), MCAST_MSFILTER, buffer.data(), &length)) return "none";
  memcpy(&asked, buffer.data(), GROUP_FILTER_SIZE(0));
  std::vector<std::string> sources;
  sources.reserve(asked.gf_numsrc);
  for (unsigned i = 0; i < asked.gf_numsrc; ++i)
    sources.emplace_back(buffer.data() + GROUP_FILTER_SIZE(i), sizeof(sockaddr_in));
  std::sort(sources.begin(), sources.end());
  std::string text = std::to_string(asked.gf_fmode);
  for (const auto& source : sources) text += source;
  return text;
}

int main() {
  int hears = socket(AF_INET, SOCK_DGRAM, 0), choosy = socket(AF_INET, SOCK_DGRAM, 0),
      sender = socket(AF_INET, SOCK_DGRAM, 0), stranger = socket(AF_INET, SOCK_DGRAM, 0);
  sockaddr_storage group = four(0xe0000163), other = four(0xe0000164), chosen = four(0xe8010203);
  sockaddr_storage any = four(INADDR_ANY);
  CHECK(bind(hears, reinterpret_cast<sockaddr*>(&any), sizeof(sockaddr_in)) == 0);
  group_req probe{.gr_interface = kLoopback, .gr_group = group};
  if (setsockopt(hears, SOL_IP, MCAST_JOIN_GROUP, &probe, sizeof probe))
    skip("no multicast on the loopback interface");
  join(choosy, group);
  join(choosy, other);
  choose(choosy, MCAST_BLOCK_SOURCE, other, four(0x7f000005));
  choose(choosy, MCAST_JOIN_SOURCE_GROUP, chosen, four(0x7f000001));
  choose(choosy, MCAST_JOIN_SOURCE_GROUP, chosen, four(0x7f000002));
  in_addr from{htonl(INADDR_LOOPBACK)};
  CHECK(setsockopt(sender, SOL_IP, IP_MULTICAST_IF, &from, sizeof from) == 0);
  // Where no address tells of it, the kernel is looked into.
  bool looks = access("/sys/kernel/btf/vmlinux", R_OK) == 0;
  int by_number = socket(AF_INET, SOCK_DGRAM, 0);
  ip_mreqn number{.imr_multiaddr = {}, .imr_address = {}, .imr_ifindex = kLoopback};
  CHECK(setsockopt(by_number, SOL_IP, IP_MULTICAST_IF, &number, sizeof number) == 0);
  bool over6 = access("/proc/net/if_inet6", F_OK) == 0;
  int hears6 = over6 ? socket(AF_INET6, SOCK_DGRAM, 0) : -1, interface = kLoopback;
  if (over6) {
    join(hears6, six(0x77));
    join(hears6, group);
    CHECK(setsockopt(hears6, SOL_IPV6, IPV6_MULTICAST_IF, &interface, sizeof interface) == 0);
  }
  auto describe = [&] {
    std::string text;
    for (const auto& one : {group, other, chosen})
      for (int fd : {hears, choosy, stranger}) text += filter_of(fd, one) + ",";
    if (over6) text += filter_of(hears6, six(0x77)) + filter_of(hears6, six(0x78)) + filter_of(hears6, group);
    return text;
  };
  std::string before = describe();

  ready();

  CHECK(describe() == before);
  sockaddr_in name;
  socklen_t length = sizeof name;
  CHECK(getsockname(hears, reinterpret_cast<sockaddr*>(&name), &length) == 0);
  group = four(0xe0000163, ntohs(name.sin_port));
  CHECK(sendto(sender, "all", 3, 0, reinterpret_cast<sockaddr*>(&group), sizeof(sockaddr_in)) == 3);
  char text[8];
  CHECK(read(hears, text, sizeof text) == 3 && memcmp(text, "all", 3) == 0);
  if (looks) {
    CHECK(sendto(by_number, "too", 3, 0, reinterpret_cast<sockaddr*>(&group), sizeof(sockaddr_in)) == 3);
    await_input(hears);
    CHECK(recv(hears, text, sizeof text, MSG_DONTWAIT) == 3 && memcmp(text, "too", 3) == 0);
  }
  if (over6) {
    int told = 0;
    length = sizeof told;
    CHECK(getsockopt(hears6, SOL_IPV6, IPV6_MULTICAST_IF, &told, &length) == 0 && told == interface);
  }
}
