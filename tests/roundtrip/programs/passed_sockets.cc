// SPDX-License-Identifier: LGPL-2.1-or-later
// Plays systemd and a service that it hands sockets: the parent makes and keeps them, its child serves them. Only the
// child is dumped and restored, and the parent calls at each socket before and after.
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <vector>

#include "program.h"

union Address {
  sockaddr any;
  sockaddr_in in;
  sockaddr_in6 in6;
  sockaddr_un un;
};
struct Passed {
  int fd, type;
  Address address;
  socklen_t length;
};

static Passed passed(int family, int type, const std::string& name = "") {
  Passed one{.fd = socket(family, type, 0), .type = type, .address = {}, .length = sizeof(sockaddr_in)};
  CHECK(one.fd >= 0);
  one.address.any.sa_family = static_cast<sa_family_t>(family);
  int yes = 1;
  if (family == AF_INET) one.address.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (family == AF_INET6) {
    one.address.in6.sin6_addr = in6addr_loopback;
    one.length = sizeof(sockaddr_in6);
    CHECK(setsockopt(one.fd, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes) == 0);  // not possible any more when bound
  }
  if (family == AF_UNIX) {
    memcpy(one.address.un.sun_path, name.data(), name.size());
    if (name[0] == '@') one.address.un.sun_path[0] = '\0';
    one.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size() + (name[0] != '@'));
  }
  CHECK(bind(one.fd, &one.address.any, one.length) == 0);
  CHECK(getsockname(one.fd, &one.address.any, &one.length) == 0);
  if (type != SOCK_DGRAM) CHECK(listen(one.fd, 7) == 0);
  return one;
}

// Answers with the number of the socket.
[[noreturn]] static void serve(const std::vector<Passed>& sockets) {
  std::vector<pollfd> polls;
  for (const Passed& one : sockets) polls.push_back({.fd = one.fd, .events = POLLIN, .revents = 0});
  for (;;) {
    CHECK(poll(polls.data(), polls.size(), -1) > 0);
    for (size_t i = 0; i < polls.size(); ++i) {
      if (!(polls[i].revents & POLLIN)) continue;
      char answer = static_cast<char>('0' + i);
      if (sockets[i].type == SOCK_DGRAM) {
        Address from{};
        socklen_t length = sizeof from;
        char byte;
        CHECK(recvfrom(polls[i].fd, &byte, 1, 0, &from.any, &length) == 1);
        CHECK(sendto(polls[i].fd, &answer, 1, 0, &from.any, length) == 1);
        continue;
      }
      int client = accept(polls[i].fd, nullptr, nullptr);
      CHECK(client >= 0 && write(client, &answer, 1) == 1);
      CHECK(close(client) == 0);
    }
  }
}

static void call_at(const Passed& one, size_t number, pid_t listener) {
  int fd = socket(one.address.any.sa_family, one.type, 0);
  CHECK(fd >= 0);
  sa_family_t unnamed = AF_UNIX;
  if (one.type == SOCK_DGRAM && one.address.any.sa_family == AF_UNIX)  // gets an abstract name, to be answered
    CHECK(bind(fd, reinterpret_cast<sockaddr*>(&unnamed), sizeof unnamed) == 0);
  CHECK(connect(fd, &one.address.any, one.length) == 0);
  if (one.type == SOCK_DGRAM) CHECK(write(fd, "?", 1) == 1);
  char answer = 0;
  pollfd poll_answer{.fd = fd, .events = POLLIN, .revents = 0};
  CHECK(poll(&poll_answer, 1, 30000) == 1);
  CHECK(read(fd, &answer, 1) == 1 && answer == static_cast<char>('0' + number));
  if (one.type != SOCK_DGRAM && one.address.any.sa_family == AF_UNIX) {
    ucred peer{};
    socklen_t length = sizeof peer;
    CHECK(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.pid == listener);
  }
  close(fd);
}

int main() {
  std::string abstract = "@kernel-swap-test-" + std::to_string(getpid());
  std::vector<Passed> sockets = {
      passed(AF_INET, SOCK_STREAM),         passed(AF_INET6, SOCK_STREAM),
      passed(AF_INET, SOCK_DGRAM),          passed(AF_INET6, SOCK_DGRAM),
      passed(AF_UNIX, SOCK_STREAM, "path"), passed(AF_UNIX, SOCK_STREAM, abstract),
      passed(AF_UNIX, SOCK_DGRAM, "gram"),  passed(AF_UNIX, SOCK_SEQPACKET, "sequence"),
  };
  constexpr size_t kByPath = 4, kAbstract = 5;
  signal(SIGCHLD, SIG_IGN);  // the dumped one leaves its PID to the restored one
  pid_t child = fork();
  if (child == 0) {
    CHECK(setsid() > 0);
    // Servers often do so with what they are passed.
    CHECK(listen(sockets[0].fd, 5) == 0 && listen(sockets[kAbstract].fd, 5) == 0);
    CHECK(fcntl(sockets[2].fd, F_SETFL, O_NONBLOCK) == 0);
    int yes = 1;
    CHECK(setsockopt(sockets[kByPath].fd, SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes) == 0);
    serve(sockets);
  }
  CHECK(child > 0);
  std::vector<pid_t> listeners(sockets.size(), getpid());
  listeners[kAbstract] = child;
  auto call_at_all = [&] {
    for (size_t i = 0; i < sockets.size(); ++i) call_at(sockets[i], i, listeners[i]);
  };
  call_at(sockets[0], 0, 0);  // it serves, so it has called listen(2)
  call_at_all();
  ready();
  call_at_all();
  int passes_credentials = 0;
  socklen_t length = sizeof passes_credentials;
  CHECK(getsockopt(sockets[kByPath].fd, SOL_SOCKET, SO_PASSCRED, &passes_credentials, &length) == 0);
  CHECK(passes_credentials == 1 && (fcntl(sockets[2].fd, F_GETFL) & O_NONBLOCK));
  CHECK(kill(child, SIGKILL) == 0);
  return 0;
}
