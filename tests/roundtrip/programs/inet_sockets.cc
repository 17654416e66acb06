// SPDX-License-Identifier: LGPL-2.1-or-later
// Sockets of TCP that listen (a thread waits in accept, a child shares one) or have done nothing yet, and of UDP,
// connected or not: addresses, options, filters, and that they work.
#include <arpa/inet.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include "begun_thread.h"
#include "program.h"

struct Option {
  int level, name, value;
};
static int number(int fd, int level, int name) {
  int value = 0;
  socklen_t length = sizeof value;
  CHECK(getsockopt(fd, level, name, &value, &length) == 0);
  return value;
}
static void set(int fd, std::initializer_list<Option> options) {
  for (auto [level, name, value] : options) CHECK(setsockopt(fd, level, name, &value, sizeof value) == 0);
}
static void check(int fd, std::initializer_list<Option> options) {
  for (auto [level, name, value] : options) CHECK(number(fd, level, name) == value);
}
static sockaddr_in6 loopback(int family, int port = 0) {
  sockaddr_in6 address{};
  if (family == AF_INET6) {
    address = {
        .sin6_family = AF_INET6, .sin6_port = htons(static_cast<uint16_t>(port)), .sin6_addr = in6addr_loopback};
  } else {
    sockaddr_in four{.sin_family = AF_INET, .sin_port = htons(static_cast<uint16_t>(port))};
    four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    memcpy(&address, &four, sizeof four);
  }
  return address;
}
static socklen_t size_of(int family) { return family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in); }
static int make(int family, int type) {
  int fd = socket(family, type, 0);
  CHECK(fd >= 0);
  return fd;
}
static int bound(int family, int type) {
  int fd = make(family, type);
  sockaddr_in6 address = loopback(family);
  CHECK(bind(fd, reinterpret_cast<sockaddr*>(&address), size_of(family)) == 0);
  return fd;
}
static int port_of(int fd) {
  sockaddr_in6 address{};
  socklen_t length = sizeof address;
  CHECK(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0);
  return ntohs(address.sin6_port);
}
static int connect_to(int family, int type, int port) {
  int fd = make(family, type);
  sockaddr_in6 address = loopback(family, port);
  CHECK(connect(fd, reinterpret_cast<sockaddr*>(&address), size_of(family)) == 0);
  return fd;
}
static void say(int from, int to) {
  char byte = 0;
  CHECK(write(from, "!", 1) == 1 && read(to, &byte, 1) == 1 && byte == '!');
}

int main() {
  const std::initializer_list<Option> of_listener = {
      {SOL_SOCKET, SO_REUSEADDR, 1}, {SOL_SOCKET, SO_KEEPALIVE, 1},    {SOL_TCP, TCP_KEEPIDLE, 77},
      {SOL_TCP, TCP_NODELAY, 1},     {SOL_IP, IP_TOS, 0x10},           {SOL_SOCKET, SO_PRIORITY, 3},
      {SOL_TCP, TCP_MAXSEG, 1000},   {SOL_TCP, TCP_USER_TIMEOUT, 4321}};
  const std::initializer_list<Option> of_six = {{SOL_IPV6, IPV6_V6ONLY, 1}, {SOL_IPV6, IPV6_UNICAST_HOPS, 7}};
  const std::initializer_list<Option> of_datagrams = {
      {SOL_IP, IP_PKTINFO, 1}, {SOL_SOCKET, SO_BROADCAST, 1}, {SOL_IP, IP_TTL, 9}, {SOL_SOCKET, SO_TIMESTAMPNS, 1}};

  int listener = bound(AF_INET, SOCK_STREAM), shared = bound(AF_INET, SOCK_STREAM | SOCK_NONBLOCK);
  set(listener, of_listener);
  CHECK(listen(listener, 17) == 0 && listen(shared, 5) == 0);
  bool six = access("/proc/net/if_inet6", F_OK) == 0;
  int listener6 = six ? make(AF_INET6, SOCK_STREAM) : -1;
  if (six) {
    set(listener6, of_six);
    sockaddr_in6 any = loopback(AF_INET6);
    CHECK(bind(listener6, reinterpret_cast<sockaddr*>(&any), sizeof any) == 0 && listen(listener6, 3) == 0);
  }
  int fresh = make(AF_INET, SOCK_STREAM), only_bound = bound(AF_INET, SOCK_STREAM);
  set(fresh, {{SOL_SOCKET, SO_RCVBUF, 50'000}, {SOL_SOCKET, SO_SNDBUF, 40'000}});
  int datagrams = bound(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK);
  set(datagrams, of_datagrams);
  int to_datagrams = connect_to(AF_INET, SOCK_DGRAM, port_of(datagrams));
  // Nothing shorter than 4 bytes.
  sock_filter code[] = {BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0), BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 8 + 4, 0, 1),
                        BPF_STMT(BPF_RET | BPF_K, ~0u), BPF_STMT(BPF_RET | BPF_K, 0)};
  sock_fprog program{4, code};
  int filtered = bound(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK);
  CHECK(setsockopt(filtered, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0);
  set(filtered, {{SOL_SOCKET, SO_LOCK_FILTER, 1}});
  CHECK(fchown(datagrams, 12, 34) == 0);
  const int fds[] = {listener, shared, only_bound, datagrams, to_datagrams, filtered};
  int ports[6];
  for (int i = 0; i < 6; ++i) ports[i] = port_of(fds[i]);

  std::thread waiting = begin_thread([&] {
    int connection = accept(listener, nullptr, nullptr);
    CHECK(connection >= 0 && write(connection, "?", 1) == 1);
    close(connection);
  });
  pid_t child = fork_to([&] {
    pollfd poll_it{shared, POLLIN, 0};
    CHECK(poll(&poll_it, 1, -1) == 1);
    int connection = accept(shared, nullptr, nullptr);
    CHECK(connection >= 0 && write(connection, "c", 1) == 1);
  });

  ready();

  check(listener, of_listener);
  check(datagrams, of_datagrams);
  for (int i = 0; i < 6; ++i) CHECK(port_of(fds[i]) == ports[i]);
  CHECK(number(fresh, SOL_SOCKET, SO_RCVBUF) == 100'000 && number(fresh, SOL_SOCKET, SO_SNDBUF) == 80'000);
  CHECK(fcntl(shared, F_GETFL) & O_NONBLOCK && !(fcntl(listener, F_GETFL) & O_NONBLOCK));
  struct tcp_info info{};
  socklen_t length = sizeof info;
  CHECK(getsockopt(listener, SOL_TCP, TCP_INFO, &info, &length) == 0 && info.tcpi_state == TCP_LISTEN);
  CHECK(info.tcpi_sacked == 17);
  struct stat facts;
  CHECK(fstat(datagrams, &facts) == 0 && facts.st_uid == 12 && facts.st_gid == 34);

  char byte = 0;
  int client = connect_to(AF_INET, SOCK_STREAM, ports[0]);
  CHECK(read(client, &byte, 1) == 1 && byte == '?');
  waiting.join();
  client = connect_to(AF_INET, SOCK_STREAM, ports[1]);
  CHECK(read(client, &byte, 1) == 1 && byte == 'c');
  CHECK(waitpid(child, nullptr, 0) == child);
  if (six) {
    check(listener6, of_six);
    client = connect_to(AF_INET6, SOCK_STREAM, port_of(listener6));
    say(client, accept(listener6, nullptr, nullptr));
  }
  sockaddr_in6 address = loopback(AF_INET, ports[0]);
  CHECK(connect(fresh, reinterpret_cast<sockaddr*>(&address), sizeof(sockaddr_in)) == 0);
  say(fresh, accept(listener, nullptr, nullptr));
  CHECK(listen(only_bound, 1) == 0);
  client = connect_to(AF_INET, SOCK_STREAM, ports[2]);
  say(client, accept(only_bound, nullptr, nullptr));

  say(to_datagrams, datagrams);
  client = connect_to(AF_INET, SOCK_DGRAM, ports[5]);
  CHECK(write(client, "abc", 3) == 3 && write(client, "abcd", 4) == 4);
  char text[8];
  CHECK(read(filtered, text, sizeof text) == 4);
  CHECK(read(filtered, text, sizeof text) == -1 && errno == EAGAIN);
  CHECK(setsockopt(filtered, SOL_SOCKET, SO_DETACH_FILTER, &program, sizeof program) == -1 && errno == EPERM);
}
