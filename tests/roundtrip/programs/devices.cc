// SPDX-License-Identifier: LGPL-2.1-or-later
// /dev/null and its like.
#include "program.h"

int main() {
  int null = open("/dev/null", O_RDWR | O_CLOEXEC), zero = open("/dev/zero", O_RDONLY),
      full = open("/dev/full", O_WRONLY);
  int random = open("/dev/random", O_RDONLY | O_NONBLOCK), urandom = open("/dev/urandom", O_RDWR);
  CHECK(null >= 0 && zero >= 0 && full >= 0 && random >= 0 && urandom >= 0);
  int log = open("/dev/kmsg", O_WRONLY | O_APPEND);
  CHECK(log >= 0);
  ready();
  char bytes[64];
  CHECK(read(null, bytes, 1) == 0 && write(null, "x", 1) == 1 && read(STDIN_FILENO, bytes, 1) == 0);
  CHECK(read(zero, bytes, 64) == 64 && bytes[0] == 0 && bytes[63] == 0);
  CHECK(write(full, "x", 1) == -1 && errno == ENOSPC);
  CHECK(read(random, bytes, 64) == 64 && read(urandom, bytes, 64) == 64);
  struct stat device;
  CHECK(fstat(log, &device) == 0 && device.st_rdev == 0x10b &&
        (fcntl(log, F_GETFL) & (O_ACCMODE | O_APPEND)) == (O_WRONLY | O_APPEND));
  bool any = false;
  for (char byte : bytes) any |= byte != 0;
  CHECK(any && fcntl(random, F_GETFL) & O_NONBLOCK && fcntl(null, F_GETFD) == FD_CLOEXEC);
  return 0;
}
