// SPDX-License-Identifier: LGPL-2.1-or-later
// Packet sockets on the loopback interface: that only send, that listen for a protocol of experiments, with options,
// a filter and memberships.
#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "program.h"

constexpr int kLoopback = 1;            // interface
constexpr uint16_t kProtocol = 0x88b5;  // for local experiments (IEEE 802)

static int make(int type, int protocol = 0) {
  int fd = socket(AF_PACKET, type, htons(static_cast<uint16_t>(protocol)));
  CHECK(fd >= 0);
  return fd;
}
static sockaddr_ll loopback(int protocol) {
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(static_cast<uint16_t>(protocol));
  address.sll_ifindex = kLoopback;
  address.sll_halen = ETH_ALEN;
  return address;
}
static void bind_to(int fd, int protocol) {
  sockaddr_ll address = loopback(protocol);
  CHECK(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
}
static sockaddr_ll name_of(int fd) {
  sockaddr_ll address{};
  socklen_t length = sizeof address;
  CHECK(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0);
  return address;
}
static void set(int fd, int name, int value) { CHECK(setsockopt(fd, SOL_PACKET, name, &value, sizeof value) == 0); }
static int number(int fd, int name) {
  int value = 0;
  socklen_t length = sizeof value;
  CHECK(getsockopt(fd, SOL_PACKET, name, &value, &length) == 0);
  return value;
}
static int change(int fd, int how, int type) {
  packet_mreq request{.mr_ifindex = kLoopback,
                      .mr_type = static_cast<unsigned short>(type),
                      .mr_alen = ETH_ALEN,
                      .mr_address = {1, 0, 0x5e, 0, 0, 0x63}};
  return setsockopt(fd, SOL_PACKET, how, &request, sizeof request);
}
static void send(int fd, const std::string& text) {
  sockaddr_ll to = loopback(kProtocol);
  CHECK(sendto(fd, text.data(), text.size(), 0, reinterpret_cast<sockaddr*>(&to), sizeof to) ==
        static_cast<ssize_t>(text.size()));
}
// A packet is seen twice, as it goes and as it comes.
static void hear(int fd, const std::string& text, int type) {
  char bytes[64];
  sockaddr_ll from{};
  socklen_t length = sizeof from;
  await_input(fd);
  ssize_t got = recvfrom(fd, bytes, sizeof bytes, MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&from), &length);
  CHECK(got == static_cast<ssize_t>(text.size()) && std::string(bytes, text.size()) == text);
  CHECK(from.sll_pkttype == type && from.sll_protocol == htons(kProtocol));
}
static bool is_empty(int fd) {
  char byte;
  return recv(fd, &byte, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN;
}

int main() {
  int sends = make(SOCK_DGRAM), listens = make(SOCK_DGRAM | SOCK_NONBLOCK), whole = make(SOCK_RAW),
      everywhere = make(SOCK_RAW, kProtocol), filtered = make(SOCK_DGRAM);
  bind_to(listens, kProtocol);
  bind_to(whole, 0);
  for (int option : {PACKET_AUXDATA, PACKET_IGNORE_OUTGOING}) set(listens, option, 1);
  set(whole, PACKET_VERSION, TPACKET_V3);
  set(whole, PACKET_COPY_THRESH, 77);
  sock_filter code[] = {BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0), BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 4, 0, 1),
                        BPF_STMT(BPF_RET | BPF_K, ~0u), BPF_STMT(BPF_RET | BPF_K, 0)};
  sock_fprog program{4, code};
  CHECK(setsockopt(filtered, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0);
  set(filtered, PACKET_IGNORE_OUTGOING, 1);
  bind_to(filtered, kProtocol);
  CHECK(change(listens, PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC) == 0);
  for (int i = 0; i < 2; ++i) CHECK(change(whole, PACKET_ADD_MEMBERSHIP, PACKET_MR_MULTICAST) == 0);

  ready();

  CHECK(name_of(listens).sll_ifindex == kLoopback && name_of(listens).sll_protocol == htons(kProtocol));
  CHECK(name_of(whole).sll_ifindex == kLoopback && name_of(whole).sll_protocol == 0);
  CHECK(name_of(everywhere).sll_ifindex == 0 && name_of(everywhere).sll_protocol == htons(kProtocol));
  CHECK(name_of(sends).sll_ifindex == 0 && name_of(sends).sll_protocol == 0);
  CHECK(number(listens, PACKET_AUXDATA) == 1 && number(filtered, PACKET_AUXDATA) == 0);
  CHECK(number(whole, PACKET_VERSION) == TPACKET_V3 && number(sends, PACKET_VERSION) == TPACKET_V1);
  CHECK(fcntl(listens, F_GETFL) & O_NONBLOCK);
  send(sends, "a");
  send(sends, "abcd");
  hear(listens, "a", PACKET_HOST);
  hear(listens, "abcd", PACKET_HOST);
  hear(filtered, "abcd", PACKET_HOST);
  CHECK(is_empty(filtered) && is_empty(listens) && is_empty(whole) && !is_empty(everywhere));
  CHECK(change(listens, PACKET_DROP_MEMBERSHIP, PACKET_MR_PROMISC) == 0);
  for (int i = 0; i < 2; ++i) {
    CHECK(content("/proc/net/dev_mcast").find("01005e000063") != std::string::npos);
    CHECK(change(whole, PACKET_DROP_MEMBERSHIP, PACKET_MR_MULTICAST) == 0);
  }
  CHECK(content("/proc/net/dev_mcast").find("01005e000063") == std::string::npos);
}
