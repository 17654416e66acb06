// SPDX-License-Identifier: LGPL-2.1-or-later
// Working directory, umask, and with the argument "chroot" a root directory of its own, the working directory
// inside it; with "outside" the working directory outside of it.
#include "program.h"

int main(int count, char** arguments) {
  const char* kind = count > 1 ? arguments[1] : "";
  CHECK(mkdir("top", 0755) == 0 && mkdir("top/inside", 0755) == 0 && mkdir("beside", 0755) == 0);
  close(open("top/inside/here", O_CREAT | O_WRONLY, 0600));
  close(open("beside/there", O_CREAT | O_WRONLY, 0600));
  if (*kind) CHECK(chroot("top") == 0);
  if (!strcmp(kind, "chroot")) CHECK(chdir("/inside") == 0);
  if (!*kind) CHECK(chdir("top/inside") == 0);
  if (!strcmp(kind, "outside")) CHECK(chdir("beside") == 0);
  umask(0137);
  char before[4096], after[4096];
  CHECK(syscall(SYS_getcwd, before, sizeof before) > 0);
  ready();
  CHECK(syscall(SYS_getcwd, after, sizeof after) > 0 && strcmp(before, after) == 0);
  CHECK(umask(0) == 0137);
  CHECK(access(strcmp(kind, "outside") ? "here" : "there", F_OK) == 0);
  if (*kind) CHECK(access("/inside/here", F_OK) == 0 && access("/proc", F_OK) == -1);
  return 0;
}
