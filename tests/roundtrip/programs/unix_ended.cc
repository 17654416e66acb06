// SPDX-License-Identifier: LGPL-2.1-or-later
// Sockets that tell of a process that has ended (SO_PEERCRED, SO_PEERGROUPS): it has made a pair, has let one listen,
// as a daemon does before it forks, and has connected one.
#include <grp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>

#include "program.h"

static sockaddr_un name_of(const char* path) {
  sockaddr_un address{.sun_family = AF_UNIX};
  strcpy(address.sun_path, path);
  return address;
}
static int bound(const char* path) {
  sockaddr_un address = name_of(path);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  CHECK(fd >= 0 && bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 && chmod(path, 0666) == 0);
  return fd;
}
static int connected(const char* path) {
  sockaddr_un address = name_of(path);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  CHECK(fd >= 0 && connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  return fd;
}
static void check_peer(int fd, pid_t pid, uid_t uid, gid_t gid) {
  ucred peer{};
  socklen_t length = sizeof peer;
  CHECK(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0);
  CHECK(peer.pid == pid && peer.uid == uid && peer.gid == gid);
}
static void say(int from, int to) {
  char byte = 0;
  CHECK(write(from, "!", 1) == 1 && read(to, &byte, 1) == 1 && byte == '!');
}

int main() {
  constexpr size_t kFiles = 4;  // pair, listener, connection
  struct {
    msghdr header;
    iovec data;
    char byte;
    alignas(cmsghdr) char control[CMSG_SPACE(kFiles * sizeof(int))];
  } message{};
  message.data = {&message.byte, 1};
  message.header = {.msg_iov = &message.data,
                    .msg_iovlen = 1,
                    .msg_control = message.control,
                    .msg_controllen = sizeof message.control};
  int carrier[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, carrier) == 0 && chmod(".", 0755) == 0);
  int server = bound("server"), listener = bound("ended");
  CHECK(listen(server, 3) == 0);
  pid_t ended = fork_to([&] {
    std::array<gid_t, 2> groups = {7, 8};
    std::array<int, kFiles> files{};
    CHECK(setgroups(groups.size(), groups.data()) == 0 && setegid(5) == 0 && seteuid(4) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, files.data()) == 0 && listen(listener, 3) == 0);
    files[2] = listener;
    files[3] = connected("server");
    auto* header = CMSG_FIRSTHDR(&message.header);
    *header = {.cmsg_len = CMSG_LEN(sizeof files), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(header), files.data(), sizeof files);
    CHECK(sendmsg(carrier[1], &message.header, 0) == 1);
  });
  std::array<int, kFiles> files{};
  CHECK(recvmsg(carrier[0], &message.header, 0) == 1 && waitpid(ended, nullptr, 0) == ended);
  memcpy(files.data(), CMSG_DATA(CMSG_FIRSTHDR(&message.header)), sizeof files);
  CHECK(close(listener) == 0 && close(carrier[1]) == 0);
  int accepted = accept(server, nullptr, nullptr);

  ready();

  for (int fd : {files[0], files[1], files[2], accepted, connected("ended")}) {
    check_peer(fd, ended, 4, 5);
    std::array<gid_t, 4> groups{};
    socklen_t length = sizeof groups;
    CHECK(getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &length) == 0);
    CHECK(length == 2 * sizeof(gid_t) && groups[0] == 7 && groups[1] == 8);
  }
  check_peer(files[3], getpid(), 0, 0);
  say(files[0], files[1]);
  say(files[3], accepted);
  say(accepted, files[3]);
}
