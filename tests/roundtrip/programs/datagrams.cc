// SPDX-License-Identifier: LGPL-2.1-or-later
// Datagrams that nobody reads: of any size, from several senders, with and without a peer, over IPv4, IPv6 and IPv4
// in IPv6, more than the buffer would take by now, and past a filter; and one that nobody took, of which the sender
// has not heard yet. With "lite", of UDP-Lite, whose checksum covers what is asked for.
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include <vector>

#include "numbered_bytes.h"
#include "options.h"
#include "program.h"
#include "socket_name.h"

static int protocol = IPPROTO_UDP;
constexpr int kLite = 136, kSendCoverage = 10, kReceiveCoverage = 11;  // udplite(7)

struct Sent {
  std::string from;
  size_t bytes;
};
struct Receiver {
  int fd;
  std::vector<Sent> sent = {};
};

static int bound(int family, bool any = false) {
  int fd = socket(family, SOCK_DGRAM, protocol), off = 0;
  sockaddr_in four{.sin_family = AF_INET, .sin_addr = {htonl(any ? INADDR_ANY : INADDR_LOOPBACK)}};
  sockaddr_in6 six{.sin6_family = AF_INET6};
  if (!any) six.sin6_addr = in6addr_loopback;
  if (family == AF_INET6) CHECK(setsockopt(fd, SOL_IPV6, IPV6_V6ONLY, &off, sizeof off) == 0);
  int done = family == AF_INET ? bind(fd, reinterpret_cast<sockaddr*>(&four), sizeof four)
                               : bind(fd, reinterpret_cast<sockaddr*>(&six), sizeof six);
  CHECK(fd >= 0 && done == 0);
  return fd;
}
static in_port_t port_of(const std::string& name) {
  sockaddr_in address;
  memcpy(&address, name.data(), sizeof address);
  return address.sin_port;
}
static std::string mapped(const std::string& name) {
  sockaddr_in6 six{.sin6_family = AF_INET6, .sin6_port = port_of(name)};
  six.sin6_addr.s6_addr[10] = six.sin6_addr.s6_addr[11] = 0xff;
  six.sin6_addr.s6_addr[12] = 127;
  six.sin6_addr.s6_addr[15] = 1;
  return {reinterpret_cast<char*>(&six), sizeof six};
}

static void send(int from, Receiver& to, size_t bytes, const std::string& shown, std::string target) {
  std::string text(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) text[i] = byte_at(i + to.sent.size());
  CHECK(sendto(from, text.data(), bytes, 0, reinterpret_cast<sockaddr*>(target.data()),
               static_cast<socklen_t>(target.size())) == static_cast<ssize_t>(bytes));
  to.sent.push_back({shown, bytes});
}
static void send(int from, Receiver& to, size_t bytes) { send(from, to, bytes, name_of(from), name_of(to.fd)); }

static void receive_all(const Receiver& receiver) {
  std::string text(70'000, '\0');
  for (size_t n = 0; n < receiver.sent.size(); ++n) {
    const Sent& sent = receiver.sent[n];
    sockaddr_storage from{};
    socklen_t length = sizeof from;
    ssize_t got =
        recvfrom(receiver.fd, text.data(), text.size(), MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&from), &length);
    CHECK(got == static_cast<ssize_t>(sent.bytes));
    for (size_t i = 0; i < sent.bytes; ++i) CHECK(text[i] == byte_at(i + n));
    CHECK(std::string(reinterpret_cast<char*>(&from), length) == sent.from);
  }
  CHECK(recv(receiver.fd, text.data(), text.size(), MSG_DONTWAIT) == -1 && errno == EAGAIN);
}

int main(int, char** arguments) {
  bool lite = arguments[1] && std::string(arguments[1]) == "lite";
  if (lite) protocol = IPPROTO_UDPLITE;
  if (int fd = socket(AF_INET, SOCK_DGRAM, protocol); fd < 0 || close(fd)) skip("this kernel has no UDP-Lite");
  bool six = access("/proc/net/if_inet6", F_OK) == 0;
  int sender = bound(AF_INET), other = bound(AF_INET), sender6 = six ? bound(AF_INET6) : -1;
  Receiver plain{bound(AF_INET)}, connected{bound(AF_INET)}, narrow{bound(AF_INET)}, filtered{bound(AF_INET)};
  if (lite) set(sender, kLite, kSendCoverage, 8);
  send(sender, plain, 0);
  send(other, plain, 1);
  send(sender, plain, 65'507);
  for (int i = 0; i < 50; ++i) send(i % 2 ? sender : other, plain, static_cast<size_t>(i) + 2);
  std::string peer = name_of(sender);
  CHECK(connect(connected.fd, reinterpret_cast<sockaddr*>(peer.data()), static_cast<socklen_t>(peer.size())) == 0);
  send(sender, connected, 100);
  for (int i = 0; i < 20; ++i) send(sender, narrow, 5'000);
  int small = 4096;
  CHECK(setsockopt(narrow.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small) == 0);
  send(sender, filtered, 3);
  sock_filter nothing[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
  sock_fprog program{1, nothing};
  CHECK(setsockopt(filtered.fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0);
  bool looks = access("/sys/kernel/btf/vmlinux", R_OK) == 0;
  int refused = bound(AF_INET), gone = bound(AF_INET);
  std::string nobody = name_of(gone);
  CHECK(connect(refused, reinterpret_cast<sockaddr*>(nobody.data()), static_cast<socklen_t>(nobody.size())) == 0);
  close(gone);
  if (looks) CHECK(::send(refused, "x", 1, 0) == 1);
  std::string refused_name = name_of(refused);
  if (lite) set(connected.fd, kLite, kReceiveCoverage, 16);
  std::vector<Receiver*> all = {&plain, &connected, &narrow, &filtered};
  Receiver over6{-1}, dual{-1};
  if (six) {
    over6.fd = bound(AF_INET6);
    send(sender6, over6, 10);
    send(sender6, over6, 65'000);
    send(sender6, over6, 11);
    dual.fd = bound(AF_INET6, true);
    sockaddr_in at{
        .sin_family = AF_INET, .sin_port = port_of(name_of(dual.fd)), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    std::string four(reinterpret_cast<char*>(&at), sizeof at);
    send(sender, dual, 7, mapped(name_of(sender)), four);
    all.push_back(&over6);
    all.push_back(&dual);
  }

  ready();

  for (const Receiver* receiver : all) receive_all(*receiver);
  CHECK(name_of(refused) == refused_name);
  CHECK(::send(refused, "x", 1, 0) == (looks ? -1 : 1) && (!looks || errno == ECONNREFUSED));
  if (lite) {
    CHECK(number(sender, kLite, kSendCoverage) == 8 && number(connected.fd, kLite, kReceiveCoverage) == 16);
    connected.sent.clear();
    Receiver nobody_takes = connected;  // too little of it is covered
    send(sender, nobody_takes, 100);
    set(sender, kLite, kSendCoverage, 16);
    send(sender, connected, 100);
    receive_all(connected);
  }
  plain.sent.clear();
  send(other, plain, 9);
  receive_all(plain);
}
