// SPDX-License-Identifier: LGPL-2.1-or-later
// TCP connections of which one end or both have been closed: with all read, with data before the end that is unread,
// unacknowledged or unsent, and with the other direction still in use.
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "numbered_bytes.h"
#include "program.h"

struct Pair {
  int client, server;
};
static Pair connect_pair(int listener) {
  sockaddr_in address{};
  socklen_t length = sizeof address;
  CHECK(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) == 0);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  Pair pair{socket(AF_INET, SOCK_STREAM, 0), -1};
  CHECK(pair.client >= 0 && connect(pair.client, reinterpret_cast<sockaddr*>(&address), length) == 0);
  pair.server = accept(listener, nullptr, nullptr);
  CHECK(pair.server >= 0);
  return pair;
}

static void say(int fd, const char* text) {
  CHECK(write(fd, text, strlen(text)) == static_cast<ssize_t>(strlen(text)));
}
static void hear(int fd, const std::string& text) {
  std::string got(text.size(), '\0');
  CHECK(recv(fd, got.data(), got.size(), MSG_WAITALL) == static_cast<ssize_t>(got.size()) && got == text);
}
static void hear_end(int fd) {
  char byte;
  CHECK(read(fd, &byte, 1) == 0);
}
static void end(int fd) { CHECK(shutdown(fd, SHUT_WR) == 0); }

static void hear_stuff(int fd, size_t bytes) {
  std::string text(bytes, '\0');
  CHECK(recv(fd, text.data(), bytes, MSG_WAITALL) == static_cast<ssize_t>(bytes));
  for (size_t i = 0; i < bytes; ++i) CHECK(text[i] == byte_at(i));
}
static bool is_at_end(int fd) {
  pollfd poll{.fd = fd, .events = POLLRDHUP, .revents = 0};
  return ::poll(&poll, 1, 0) == 1 && poll.revents & POLLRDHUP;
}
static void wait_for_end(int fd) {
  while (!is_at_end(fd)) usleep(1000);
}

int main() {
  signal(SIGPIPE, SIG_IGN);
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(listener >= 0 && listen(listener, 10) == 0);
  Pair quiet = connect_pair(listener), unread = connect_pair(listener), stuffed = connect_pair(listener),
       back = connect_pair(listener), deaf = connect_pair(listener), writing = connect_pair(listener);

  end(quiet.client);
  say(unread.client, "before the end");
  end(unread.client);
  size_t bytes = stuff(stuffed.client);
  end(stuffed.client);
  size_t back_bytes = stuff(back.server);
  end(back.client);
  CHECK(shutdown(deaf.client, SHUT_RD) == 0);
  end(writing.server);
  for (int fd : {quiet.server, unread.server, back.server, writing.client}) wait_for_end(fd);

  int settled[2];
  CHECK(pipe(settled) == 0);
  pid_t child = fork_to([&] {
    for (int fd : {quiet.client, unread.client, stuffed.client, back.client, deaf.client, writing.client}) close(fd);
    CHECK(write(settled[1], "s", 1) == 1);
    wait_until_told();
    for (int fd : {quiet.server, unread.server, back.server}) CHECK(is_at_end(fd));
    CHECK(!is_at_end(writing.server) && !is_at_end(deaf.server));
    hear_end(quiet.server);
    say(quiet.server, "after the end");
    close(quiet.server);
    hear(unread.server, "before the end");
    hear_end(unread.server);
    close(unread.server);
    hear_stuff(stuffed.server, bytes);
    hear_end(stuffed.server);
    say(stuffed.server, "all of it");
    close(stuffed.server);
    hear_end(back.server);
    close(back.server);
    hear(deaf.server, "can still speak");
    close(deaf.server);
    hear(writing.server, "one way");
    hear_end(writing.server);
    CHECK(write(writing.server, "x", 1) == -1 && errno == EPIPE);
  });
  for (int fd : {quiet.server, unread.server, stuffed.server, back.server, deaf.server, writing.server}) close(fd);

  char byte;
  CHECK(read(settled[0], &byte, 1) == 1);
  ready();

  CHECK(write(quiet.client, "x", 1) == -1 && errno == EPIPE);
  CHECK(is_at_end(deaf.client) && is_at_end(writing.client));
  hear(quiet.client, "after the end");
  hear_end(quiet.client);
  hear_end(unread.client);
  hear(stuffed.client, "all of it");
  hear_end(stuffed.client);
  hear_stuff(back.client, back_bytes);
  hear_end(back.client);
  say(deaf.client, "can still speak");
  hear_end(deaf.client);
  hear_end(writing.client);
  say(writing.client, "one way");
  close(writing.client);
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
}
