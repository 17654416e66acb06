// SPDX-License-Identifier: LGPL-2.1-or-later
// UNIX sockets of all types: pairs, listeners by path and by abstract name, accepted connections, datagrams by name;
// with data, half closed, whose peer is gone or whose name is; and what they tell of their peers.
#include <poll.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "begun_thread.h"
#include "program.h"
#include "unix_names.h"

static void say(int from, int to, char what = '!') {
  char byte = 0;
  CHECK(write(from, &what, 1) == 1 && read(to, &byte, 1) == 1 && byte == what);
}
template <class Call>
static void check_name(Call call, int fd, const std::string& name) {
  sockaddr_un expected, told{};
  socklen_t length = name.empty() ? sizeof(sa_family_t) : name_of(name, expected), got = sizeof told;
  CHECK(call(fd, reinterpret_cast<sockaddr*>(&told), &got) == 0 && got == length);
  if (!name.empty()) CHECK(memcmp(&expected, &told, length) == 0);
}
static void check_peer(int fd, pid_t pid, uid_t uid = 0) {
  ucred peer{};
  socklen_t length = sizeof peer;
  CHECK(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0);
  CHECK(peer.pid == pid && peer.uid == uid);
}
static void expect(int fd, const std::string& text, bool end) {
  char buffer[256]{};
  CHECK(recv(fd, buffer, sizeof buffer, MSG_DONTWAIT) == static_cast<ssize_t>(text.size()) && text == buffer);
  if (end) CHECK(read(fd, buffer, 1) == 0);
}

int main() {
  signal(SIGPIPE, SIG_IGN);
  char here[4096];
  CHECK(getcwd(here, sizeof here));
  std::string path = std::string(here) + "/listener", abstract = "@kernel-swap-test-" + std::to_string(getpid());
  if (path.size() > 100) path = "listener";

  Pair stream = make_pair(SOCK_STREAM | SOCK_NONBLOCK), packets = make_pair(SOCK_SEQPACKET | SOCK_CLOEXEC),
       datagrams = make_pair(SOCK_DGRAM), half = make_pair(SOCK_STREAM), orphan = make_pair(SOCK_STREAM),
       orphan_packets = make_pair(SOCK_SEQPACKET), inherited = make_pair(SOCK_STREAM);
  CHECK(write(stream.one, "first", 5) == 5 && write(stream.one, "second", 6) == 6 &&
        write(stream.other, "up", 2) == 2);
  CHECK(write(half.one, "last", 4) == 4 && shutdown(half.one, SHUT_WR) == 0);
  CHECK(write(orphan.other, "left", 4) == 4 && close(orphan.other) == 0 && close(orphan_packets.other) == 0);
  int small = 8192;
  CHECK(setsockopt(packets.one, SOL_SOCKET, SO_SNDBUF, &small, sizeof small) == 0);

  int listener = bound(SOCK_STREAM, path), anonymous = bound(SOCK_SEQPACKET, abstract);
  CHECK(chmod(path.c_str(), 0640) == 0 && chown(path.c_str(), 12, 34) == 0);
  CHECK(listen(listener, 7) == 0);
  CHECK(setegid(5) == 0 && seteuid(4) == 0 && listen(anonymous, 3) == 0 && seteuid(0) == 0 && setegid(0) == 0);
  int receiver = bound(SOCK_DGRAM, "relative"), sender = connected(SOCK_DGRAM, "relative");
  int nameless = bound(SOCK_DGRAM, "removed");
  CHECK(unlink("removed") == 0);
  int fresh = socket(AF_UNIX, SOCK_STREAM, 0);
  // From here on one of three.
  pid_t client = fork_to([&] {
    int connection = connected(SOCK_STREAM, path);
    check_peer(connection, getppid());
    say(connection, connection, 'c');
    say(inherited.other, inherited.other, 'i');
    check_peer(connection, getppid());
    check_name(getpeername, connection, path);
    say(connection, connection, 'd');
  });
  int accepted = accept(listener, nullptr, nullptr);
  char byte;
  CHECK(accepted >= 0 && read(accepted, &byte, 1) == 1 && byte == 'c' && write(accepted, "c", 1) == 1);
  CHECK(read(inherited.one, &byte, 1) == 1 && byte == 'i');
  int left = connected(SOCK_STREAM, path), alone = accept(listener, nullptr, nullptr);
  CHECK(write(left, "bye", 3) == 3 && close(left) == 0);
  std::thread waiting = begin_thread([&] {
    int connection = accept(listener, nullptr, nullptr);
    CHECK(connection >= 0 && write(connection, "?", 1) == 1);
    close(connection);
  });
  // Who waits with a time-out is not interrupted.
  Pair slow = make_pair(SOCK_STREAM);
  timeval limit{1000, 0};
  CHECK(setsockopt(slow.one, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
  std::thread receiving = begin_thread([&] {
    char got;
    CHECK(recv(slow.one, &got, 1, 0) == 1 && got == 's');
  });

  ready();

  CHECK(write(slow.other, "s", 1) == 1);
  receiving.join();

  expect(stream.other, "firstsecond", false);
  expect(stream.one, "up", false);
  CHECK(read(stream.one, &byte, 1) == -1 && errno == EAGAIN);
  say(stream.one, stream.other);
  say(packets.one, packets.other);
  say(datagrams.other, datagrams.one);
  expect(half.other, "last", true);
  say(half.other, half.one);
  CHECK(write(half.one, "x", 1) == -1 && errno == EPIPE);
  expect(orphan.one, "left", true);
  CHECK(read(orphan_packets.one, &byte, 1) == 0 && write(orphan_packets.one, "x", 1) == -1 && errno == EPIPE);
  int size = 0;
  socklen_t length = sizeof size;
  CHECK(getsockopt(packets.one, SOL_SOCKET, SO_SNDBUF, &size, &length) == 0 && size == 2 * small);
  for (int fd : {stream.one, stream.other, packets.one, datagrams.one}) {
    check_peer(fd, getpid());
    check_name(getsockname, fd, "");
  }

  check_name(getsockname, accepted, path);
  check_name(getpeername, accepted, "");
  check_peer(accepted, client);
  CHECK(write(inherited.one, "i", 1) == 1 && read(accepted, &byte, 1) == 1 && byte == 'd');
  CHECK(write(accepted, "d", 1) == 1);
  int status;
  CHECK(waitpid(client, &status, 0) == client && status == 0);
  CHECK(read(accepted, &byte, 1) == 0);

  check_name(getsockname, alone, path);
  expect(alone, "bye", true);

  struct stat facts;
  CHECK(stat(path.c_str(), &facts) == 0 && S_ISSOCK(facts.st_mode) && (facts.st_mode & 07777) == 0640);
  CHECK(facts.st_uid == 12 && facts.st_gid == 34);
  int connection = connected(SOCK_STREAM, path);
  CHECK(read(connection, &byte, 1) == 1 && byte == '?');
  waiting.join();
  connection = connected(SOCK_SEQPACKET, abstract);
  check_peer(connection, getpid(), 4);
  say(connection, accept(anonymous, nullptr, nullptr));

  say(sender, receiver);
  check_name(getpeername, sender, "relative");
  say(connected(SOCK_DGRAM, "relative"), receiver);
  check_name(getsockname, nameless, "removed");
  CHECK(access("removed", F_OK) == -1);
  sockaddr_un address;
  length = name_of(path, address);
  CHECK(connect(fresh, reinterpret_cast<sockaddr*>(&address), length) == 0);
  say(fresh, accept(listener, nullptr, nullptr));
  unlink(path.c_str());
  unlink("relative");
}
