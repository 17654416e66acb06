// SPDX-License-Identifier: LGPL-2.1-or-later
// Established TCP connections between two processes: idle, with all that fits unread and unsent, over IPv6 and with
// addresses of IPv4 in IPv6, with options, and numbered streams that flow both ways all along.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>

#include "begun_thread.h"
#include "numbered_bytes.h"
#include "options.h"
#include "program.h"

struct Pair {
  int client, server;
};
static Pair connect_pair(int listener, int family) {
  sockaddr_in6 address{};
  socklen_t length = sizeof address;
  CHECK(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) == 0);
  if (family == AF_INET) {
    sockaddr_in four{.sin_family = AF_INET, .sin_port = address.sin6_port};
    four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    memcpy(&address, &four, length = sizeof four);
  } else {
    address.sin6_addr = in6addr_loopback;
  }
  Pair pair{socket(family, SOCK_STREAM, 0), -1};
  CHECK(pair.client >= 0 && connect(pair.client, reinterpret_cast<sockaddr*>(&address), length) == 0);
  pair.server = accept(listener, nullptr, nullptr);
  CHECK(pair.server >= 0);
  return pair;
}
static int listen_on(int family) {
  int fd = socket(family, SOCK_STREAM, 0);
  sockaddr_in6 any{};
  any.sin6_family = static_cast<sa_family_t>(family);
  set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  CHECK(fd >= 0 &&
        bind(fd, reinterpret_cast<sockaddr*>(&any), family == AF_INET ? sizeof(sockaddr_in) : sizeof any) == 0 &&
        listen(fd, 10) == 0);
  return fd;
}

static void send_from(int fd, size_t& at, size_t bytes) {
  std::string text(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) text[i] = byte_at(at + i);
  for (size_t done = 0; done < bytes;) {
    ssize_t sent = write(fd, &text[done], bytes - done);
    CHECK(sent > 0);
    done += static_cast<size_t>(sent);
  }
  at += bytes;
}
static void receive(int fd, size_t& at, size_t bytes) {
  std::string text(bytes, '\0');
  CHECK(recv(fd, text.data(), bytes, MSG_WAITALL) == static_cast<ssize_t>(bytes));
  for (size_t i = 0; i < bytes; ++i) CHECK(text[i] == byte_at(at + i));
  at += bytes;
}

int main() {
  signal(SIGPIPE, SIG_IGN);
  bool six = access("/proc/net/if_inet6", F_OK) == 0;
  int listener = listen_on(AF_INET), listener6 = six ? listen_on(AF_INET6) : -1;
  Pair idle = connect_pair(listener, AF_INET), full = connect_pair(listener, AF_INET),
       small = connect_pair(listener, AF_INET), stream = connect_pair(listener, AF_INET);
  Pair over6 = six ? connect_pair(listener6, AF_INET6) : Pair{},
       mapped = six ? connect_pair(listener6, AF_INET) : Pair{};
  set(small.client, SOL_SOCKET, SO_SNDBUF, 8192);
  set(small.server, SOL_SOCKET, SO_RCVBUF, 8192);
  set(idle.client, SOL_TCP, TCP_NODELAY, 1);
  set(idle.client, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(idle.client, SOL_TCP, TCP_KEEPIDLE, 99);
  CHECK(setsockopt(idle.server, SOL_TCP, TCP_CONGESTION, "reno", 4) == 0);
  bool reuses = number(idle.server, SOL_SOCKET, SO_REUSEADDR);
  int sndbuf = number(small.client, SOL_SOCKET, SO_SNDBUF);
  size_t full_bytes = stuff(full.client), back_bytes = stuff(full.server), small_bytes = stuff(small.client);

  int report[2], settled[2];
  CHECK(pipe(report) == 0 && pipe(settled) == 0);
  pid_t child = fork_to([&] {
    close(report[0]);
    close(settled[0]);
    std::latch flowing(1);
    for (int fd : {idle.client, full.client, small.client, stream.client}) close(fd);
    std::thread up = begin_thread([&] {
      for (size_t at = 0, back = 0; at < SIZE_MAX;) {
        char first;
        ssize_t got = recv(stream.server, &first, 1, 0);
        CHECK(got >= 0);
        if (got == 0) return;
        CHECK(first == byte_at(at++));
        receive(stream.server, at, 4095);
        send_from(stream.server, back, 1024);
        if (at == 4096) flowing.count_down();
      }
    });
    flowing.wait();
    CHECK(write(settled[1], "s", 1) == 1);
    wait_until_told();
    size_t at = 0;
    char byte;
    CHECK(read(idle.server, &byte, 1) == 1 && byte == 'i' && write(idle.server, "o", 1) == 1);
    receive(full.server, at, full_bytes);
    receive(full.server, at, 5000);
    at = 0;
    receive(small.server, at, small_bytes);
    receive(small.server, at, 100);
    if (six) {
      CHECK(read(over6.server, &byte, 1) == 1 && byte == '6' && write(mapped.server, "4", 1) == 1);
    }
    char name[16]{};
    socklen_t length = sizeof name;
    CHECK(getsockopt(idle.server, SOL_TCP, TCP_CONGESTION, name, &length) == 0 && strcmp(name, "reno") == 0);
    CHECK(!!number(idle.server, SOL_SOCKET, SO_REUSEADDR) == reuses);
    CHECK(read(idle.server, &byte, 1) == 0);
    up.join();
    CHECK(write(report[1], "w", 1) == 1);
  });
  for (int fd : {idle.server, full.server, small.server, stream.server, report[1], settled[1]}) close(fd);
  if (six) close(over6.server), close(mapped.server);
  std::atomic<bool> over = false;
  std::latch flowing(1);
  std::thread down = begin_thread([&] {
    size_t at = 0, back = 0;
    while (!over) {
      send_from(stream.client, at, 4096);
      receive(stream.client, back, 1024);
      if (back == 1024) flowing.count_down();
    }
    CHECK(shutdown(stream.client, SHUT_WR) == 0);
    char byte;
    CHECK(read(stream.client, &byte, 1) == 0);
  });

  char byte;
  flowing.wait();
  CHECK(read(settled[0], &byte, 1) == 1);
  ready();

  CHECK(write(idle.client, "i", 1) == 1 && read(idle.client, &byte, 1) == 1 && byte == 'o');
  CHECK(number(idle.client, SOL_TCP, TCP_NODELAY) && number(idle.client, SOL_TCP, TCP_KEEPIDLE) == 99);
  CHECK(number(idle.client, SOL_SOCKET, SO_KEEPALIVE));
  CHECK(number(small.client, SOL_SOCKET, SO_SNDBUF) == sndbuf);
  size_t at = full_bytes;
  send_from(full.client, at, 5000);
  at = 0;
  receive(full.client, at, back_bytes);
  at = small_bytes;
  send_from(small.client, at, 100);
  if (six) {
    CHECK(write(over6.client, "6", 1) == 1 && read(mapped.client, &byte, 1) == 1 && byte == '4');
  }
  close(idle.client);
  over = true;
  down.join();
  // The listeners are of use still.
  Pair fresh = connect_pair(listener, AF_INET);
  CHECK(write(fresh.client, "n", 1) == 1 && read(fresh.server, &byte, 1) == 1 && byte == 'n');
  CHECK(read(report[0], &byte, 1) == 1 && byte == 'w');
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
}
