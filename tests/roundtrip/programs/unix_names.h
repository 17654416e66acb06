// SPDX-License-Identifier: LGPL-2.1-or-later
// UNIX sockets of test programs, in pairs and by their names.
#pragma once

#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "program.h"

struct Pair {
  int one, other;
};
inline Pair make_pair(int type) {
  int fds[2];
  CHECK(socketpair(AF_UNIX, type, 0, fds) == 0);
  return {fds[0], fds[1]};
}

// A leading '@' stands for an abstract name.
inline socklen_t name_of(const std::string& name, sockaddr_un& address) {
  address = {.sun_family = AF_UNIX};
  memcpy(address.sun_path, name.data(), name.size());
  if (name[0] == '@') address.sun_path[0] = '\0';
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size() + (name[0] != '@'));
}
inline int bound(int type, const std::string& name) {
  sockaddr_un address;
  socklen_t length = name_of(name, address);
  int fd = socket(AF_UNIX, type, 0);
  CHECK(fd >= 0 && bind(fd, reinterpret_cast<sockaddr*>(&address), length) == 0);
  return fd;
}
inline void connect_to(int fd, const std::string& name) {
  sockaddr_un address;
  socklen_t length = name_of(name, address);
  CHECK(connect(fd, reinterpret_cast<sockaddr*>(&address), length) == 0);
}
inline int connected(int type, const std::string& name) {
  int fd = socket(AF_UNIX, type, 0);
  CHECK(fd >= 0);
  connect_to(fd, name);
  return fd;
}
