// SPDX-License-Identifier: LGPL-2.1-or-later
// Connections of UNIX sockets that nobody has accepted yet, that were accepted under a name at which nobody listens
// any more, and whose clients have names.
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "program.h"

// A leading '@' stands for an abstract name.
static socklen_t name_of(const std::string& name, sockaddr_un& address) {
  address = {.sun_family = AF_UNIX};
  memcpy(address.sun_path, name.data(), name.size());
  if (name[0] == '@') address.sun_path[0] = '\0';
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size() + (name[0] != '@'));
}
static void bind_to(int fd, const std::string& name) {
  sockaddr_un address;
  socklen_t length = name_of(name, address);
  CHECK(bind(fd, reinterpret_cast<sockaddr*>(&address), length) == 0);
}
static int listening(int type, const std::string& name, int backlog) {
  int fd = socket(AF_UNIX, type, 0);
  CHECK(fd >= 0);
  bind_to(fd, name);
  CHECK(listen(fd, backlog) == 0);
  return fd;
}
static int connected(int type, const std::string& name, const std::string& own = "") {
  sockaddr_un address;
  socklen_t length = name_of(name, address);
  int fd = socket(AF_UNIX, type, 0);
  CHECK(fd >= 0);
  if (!own.empty()) bind_to(fd, own);
  CHECK(connect(fd, reinterpret_cast<sockaddr*>(&address), length) == 0);
  return fd;
}
static int accept_from(int listener, pid_t expected) {
  CHECK(fcntl(listener, F_SETFL, O_NONBLOCK) == 0);
  int fd = accept(listener, nullptr, nullptr);
  CHECK(fd >= 0);
  ucred peer{};
  socklen_t length = sizeof peer;
  CHECK(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.pid == expected && peer.uid == 0);
  return fd;
}
static void say(int from, int to) {
  char byte = 0;
  CHECK(write(from, "!", 1) == 1 && read(to, &byte, 1) == 1 && byte == '!');
}
static void check_names(int fd, const std::string& own, const std::string& peer) {
  for (bool of_peer : {false, true}) {
    const std::string& name = of_peer ? peer : own;
    sockaddr_un expected, told{};
    socklen_t length = name.empty() ? sizeof(sa_family_t) : name_of(name, expected), got = sizeof told;
    CHECK((of_peer ? getpeername : getsockname)(fd, reinterpret_cast<sockaddr*>(&told), &got) == 0 && got == length);
    if (!name.empty()) CHECK(memcmp(&expected, &told, length) == 0);
  }
}

int main() {
  signal(SIGPIPE, SIG_IGN);
  std::string abstract = "@kernel-swap-connections-" + std::to_string(getpid());
  int listener = listening(SOCK_STREAM, "listener", 5), anonymous = listening(SOCK_SEQPACKET, abstract, 5);
  int gone = listening(SOCK_STREAM, "gone", 5);
  int ends[2];
  CHECK(pipe(ends) == 0);
  pid_t child = fork_to([&] {
    int client = connected(SOCK_STREAM, "listener");
    CHECK(write(ends[1], "x", 1) == 1);
    char byte;
    CHECK(read(client, &byte, 1) == 1 && byte == '!' && write(client, "!", 1) == 1);
  });
  char byte;
  CHECK(read(ends[0], &byte, 1) == 1);
  int client = connected(SOCK_STREAM, "listener"), half = connected(SOCK_STREAM, "listener", "half"),
      packets = connected(SOCK_SEQPACKET, abstract);
  CHECK(shutdown(half, SHUT_WR) == 0);

  // Accepted from one that listens no more: by this process, and by one that has gone.
  int left = connected(SOCK_STREAM, "gone"), right = accept(gone, nullptr, nullptr);
  int closed = connected(SOCK_STREAM, "gone"), alone = accept(gone, nullptr, nullptr);
  CHECK(write(closed, "bye", 3) == 3 && close(closed) == 0 && close(gone) == 0 && unlink("gone") == 0);

  // A client with a name of its own.
  int named = connected(SOCK_SEQPACKET, abstract, "client");
  CHECK(fcntl(anonymous, F_SETFL, O_NONBLOCK) == 0);
  int waiting = accept(anonymous, nullptr, nullptr), accepted = accept(anonymous, nullptr, nullptr);
  CHECK(waiting >= 0 && accepted >= 0 && close(waiting) == 0 && close(packets) == 0);
  packets = connected(SOCK_SEQPACKET, abstract);

  ready();

  int first = accept_from(listener, child);
  CHECK(write(first, "!", 1) == 1 && read(first, &byte, 1) == 1);
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  say(client, accept_from(listener, getpid()));
  int third = accept_from(listener, getpid());
  check_names(third, "listener", "half");
  check_names(half, "half", "listener");
  CHECK(read(third, &byte, 1) == 0);
  say(third, half);
  CHECK(accept(listener, nullptr, nullptr) == -1 && errno == EAGAIN);
  say(packets, accept_from(anonymous, getpid()));
  CHECK(accept(anonymous, nullptr, nullptr) == -1 && errno == EAGAIN);

  check_names(left, "", "gone");
  check_names(right, "gone", "");
  say(left, right);
  say(right, left);
  check_names(alone, "gone", "");
  char text[4]{};
  CHECK(read(alone, text, 3) == 3 && strcmp(text, "bye") == 0 && read(alone, text, 1) == 0);

  check_names(named, "client", abstract);
  check_names(accepted, abstract, "client");
  say(named, accepted);
  say(accepted, named);
  CHECK(access("client", F_OK) == 0);
}
