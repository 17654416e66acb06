// SPDX-License-Identifier: LGPL-2.1-or-later
// A program whose executable and library were deleted after it had been started, as an upgrade does.
#include "program.h"

int main(int count, char** arguments) {
  if (count > 1 && strcmp(arguments[1], "copy") == 0) {
    CHECK(unlink("copy") == 0);
    char link[256]{};
    CHECK(readlink("/proc/self/exe", link, sizeof link - 1) > 0 && strstr(link, "/copy (deleted)"));
    ready();
    memset(link, 0, sizeof link);
    CHECK(readlink("/proc/self/exe", link, sizeof link - 1) > 0 && strstr(link, "/copy (deleted)"));
    char* again[] = {arguments[0], const_cast<char*>("again"), nullptr};
    execve("/proc/self/exe", again, environ);
    CHECK(false);
  }
  if (count > 1) return 0;
  int from = open("/proc/self/exe", O_RDONLY), to = open("copy", O_WRONLY | O_CREAT | O_EXCL, 0700);
  char bytes[65536];
  for (ssize_t got; (got = read(from, bytes, sizeof bytes)) > 0;)
    CHECK(write(to, bytes, static_cast<size_t>(got)) == got);
  close(from);
  close(to);
  char* next[] = {arguments[0], const_cast<char*>("copy"), nullptr};
  execve("./copy", next, environ);
  CHECK(false);
}
