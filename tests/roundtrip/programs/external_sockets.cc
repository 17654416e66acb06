// SPDX-License-Identifier: LGPL-2.1-or-later
// Connections with somebody outside, who is the driver: to "stream" and "packets", and from him, to "server". Told to
// go on, it finds them as they were or, after a restore, closed, and connects again.
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <string>

#include "program.h"

static sockaddr_un name_of(const char* path) {
  sockaddr_un address{.sun_family = AF_UNIX};
  strcpy(address.sun_path, path);
  return address;
}
static int connected(int type, const char* path, const char* abstract = nullptr) {
  sockaddr_un address = name_of(path);
  int fd = socket(AF_UNIX, type, 0);
  if (abstract) {
    sockaddr_un own{.sun_family = AF_UNIX};
    strcpy(own.sun_path + 1, abstract);
    socklen_t length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + strlen(abstract));
    CHECK(bind(fd, reinterpret_cast<sockaddr*>(&own), length) == 0);
  }
  CHECK(fd >= 0 && connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  return fd;
}
static void check_names(int fd, const char* own, const char* peer) {
  sockaddr_un told{};
  socklen_t length = sizeof told;
  CHECK(getsockname(fd, reinterpret_cast<sockaddr*>(&told), &length) == 0);
  CHECK(strcmp(told.sun_path + (*own && !*told.sun_path), own) == 0);
  told = {};
  length = sizeof told;
  CHECK(getpeername(fd, reinterpret_cast<sockaddr*>(&told), &length) == 0);
  CHECK(strcmp(told.sun_path, peer) == 0);
}
static void check_user(int fd) {
  ucred peer{};
  socklen_t length = sizeof peer;
  CHECK(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.uid == 0 && peer.gid == 0);
}

int main() {
  signal(SIGPIPE, SIG_IGN);
  sockaddr_un address = name_of("server");
  int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  CHECK(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 && listen(listener, 4) == 0);
  int stream = connected(SOCK_STREAM, "stream"), packets = connected(SOCK_SEQPACKET, "packets");
  std::string abstract = std::to_string(getpid()) + "/bus/test";  // as sd-bus calls its end (systemd 254)
  int named = connected(SOCK_STREAM, "stream", abstract.c_str());
  int accepted = accept(listener, nullptr, nullptr);
  CHECK(accepted >= 0);
  pollfd waiting{.fd = listener, .events = POLLIN, .revents = 0};
  CHECK(fcntl(listener, F_SETFL, O_NONBLOCK) == 0 &&
        poll(&waiting, 1, 10'000) == 1);  // somebody whom it does not accept
  char text[16]{};
  for (int fd : {stream, named})
    while (recv(fd, text, sizeof text, MSG_PEEK) < 5) usleep(1000);  // what is not read yet is read later

  ready();

  bool closed = true;
  CHECK(read(stream, text, sizeof text) == 5 && memcmp(text, "hello", 5) == 0);
  CHECK(read(named, text, 5) == 5);
  for (int fd : {stream, packets, accepted, named}) {
    check_user(fd);
    pollfd poll_{.fd = fd, .events = POLLIN | POLLRDHUP, .revents = 0};
    if (poll(&poll_, 1, 0) == 0) {
      CHECK(write(fd, "?", 1) == 1 && read(fd, text, sizeof text) == 1 && *text == '!');
      closed = false;
      continue;
    }
    CHECK(poll_.revents == (POLLIN | POLLHUP | POLLRDHUP));
    CHECK(read(fd, text, sizeof text) == 0 && write(fd, "?", 1) == -1 && errno == EPIPE);
  }
  check_names(stream, "", "stream");
  check_names(packets, "", "packets");
  check_names(named, abstract.c_str(), "stream");
  check_names(accepted, "server", "");
  CHECK(closed ? accept(listener, nullptr, nullptr) == -1 && errno == EAGAIN
               : accept(listener, nullptr, nullptr) >= 0);
  dprintf(STDOUT_FILENO, closed ? "closed\n" : "open\n");
  if (closed) {
    stream = connected(SOCK_STREAM, "stream");
    CHECK(read(stream, text, 5) == 5 && write(stream, "?", 1) == 1 && read(stream, text, 1) == 1 && *text == '!');
  }
}
