// SPDX-License-Identifier: LGPL-2.1-or-later
// Open files: positions, flags, descriptor numbers, and which descriptors share one open file, also between
// parent and child.
#include "program.h"

static int open_new(const char* name, int flags, const char* content) {
  int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0640);
  CHECK(fd >= 0 && write(fd, content, strlen(content)) == static_cast<ssize_t>(strlen(content)) && close(fd) == 0);
  fd = open(name, flags);
  CHECK(fd >= 0);
  return fd;
}
static off_t position(int fd) { return lseek(fd, 0, SEEK_CUR); }

int main() {
  int reader = open_new("reader", O_RDONLY | O_NOATIME, "0123456789");
  CHECK(lseek(reader, 4, SEEK_SET) == 4);
  int appender = open_new("appender", O_RDWR | O_APPEND | O_CLOEXEC, "first\n");
  CHECK(lseek(appender, 2, SEEK_SET) == 2);
  int apart = open("reader", O_RDONLY);  // the same file, opened twice
  int writer = open_new("writer", O_WRONLY | O_NONBLOCK | O_DSYNC, "");
  CHECK(lseek(writer, 5'000'000'000, SEEK_SET) == 5'000'000'000);
  CHECK(dup2(writer, 900) == 900 && fcntl(writer, F_DUPFD_CLOEXEC, 901) == 901);
  int directory = open(".", O_RDONLY | O_DIRECTORY);
  int path_only = open("reader", O_PATH);
  CHECK(apart >= 0 && directory >= 0 && path_only >= 0);
  int flags[] = {fcntl(reader, F_GETFL), fcntl(appender, F_GETFL), fcntl(writer, F_GETFL), fcntl(path_only, F_GETFL)};

  pid_t child = fork();
  if (child == 0) {
    close(appender);
    wait_until_told();
    while (position(reader) != 6) usleep(1000);  // the parent has read
    char byte;
    CHECK(read(reader, &byte, 1) == 1 && byte == '6');
    _exit(0);
  }
  await_closed(child, appender);
  ready();
  CHECK(fcntl(reader, F_GETFL) == flags[0] && fcntl(appender, F_GETFL) == flags[1]);
  CHECK(fcntl(writer, F_GETFL) == flags[2] && fcntl(path_only, F_GETFL) == flags[3]);
  CHECK(fcntl(appender, F_GETFD) == FD_CLOEXEC && fcntl(900, F_GETFD) == 0 && fcntl(901, F_GETFD) == FD_CLOEXEC);
  CHECK(position(appender) == 2 && position(apart) == 0 && position(writer) == 5'000'000'000);
  CHECK(lseek(900, 7, SEEK_SET) == 7 && position(901) == 7 && position(writer) == 7);
  CHECK(write(appender, "second\n", 7) == 7 && position(appender) == 13);
  char bytes[3];
  CHECK(read(reader, bytes, 2) == 2 && bytes[0] == '4' && bytes[1] == '5' && position(apart) == 0);
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0 && position(reader) == 7);
  CHECK(faccessat(directory, "appender", R_OK, 0) == 0 && read(path_only, bytes, 1) == -1 && errno == EBADF);
  for (int fd : {899, 902, 50}) CHECK(fcntl(fd, F_GETFD) == -1);
  return 0;
}
