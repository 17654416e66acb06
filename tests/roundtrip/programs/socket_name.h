// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <sys/socket.h>

#include <string>

#include "program.h"

// What a socket is bound to, for bind(2) and connect(2).
inline std::string name_of(int fd) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  CHECK(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0);
  return {reinterpret_cast<char*>(&address), length};
}
