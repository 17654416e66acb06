// SPDX-License-Identifier: LGPL-2.1-or-later
// Options of sockets that are numbers.
#pragma once

#include <sys/socket.h>

#include "program.h"

inline void set(int fd, int level, int name, int value) {
  CHECK(setsockopt(fd, level, name, &value, sizeof value) == 0);
}
inline int number(int fd, int level, int name) {
  int value = 0;
  socklen_t length = sizeof value;
  CHECK(getsockopt(fd, level, name, &value, &length) == 0);
  return value;
}
