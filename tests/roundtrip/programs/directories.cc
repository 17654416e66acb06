// SPDX-License-Identifier: LGPL-2.1-or-later
// Working directory, umask, and with the argument "chroot" a root directory of its own, the working directory
// inside it; with "outside" the working directory outside of it; with "deleted" and "memory" a working directory that
// is that, with "root_deleted" and "root_memory" a root directory.
#include "program.h"

static int without_disk(bool in_memory) {
  char name[] = "/dev/shm/kernel-swap-test-XXXXXX";
  if (in_memory && !mkdtemp(name)) skip("no /dev/shm");
  CHECK(in_memory ? chdir(name) == 0 : mkdir("gone", 0751) == 0 && chdir("gone") == 0 && rmdir("../gone") == 0);
  CHECK(!in_memory || (mkdir("below", 0711) == 0 && chdir("below") == 0 && chown(".", 12, 34) == 0));
  int opened = open(".", O_PATH);
  char before[4096], after[4096];
  long length = syscall(SYS_getcwd, before, sizeof before);
  CHECK(length > 0 || (!in_memory && errno == ENOENT));
  ready();
  struct stat here, there;
  CHECK(syscall(SYS_getcwd, after, sizeof after) == length && stat(".", &here) == 0 && fstat(opened, &there) == 0);
  CHECK(here.st_ino == there.st_ino && (here.st_mode & 07777) == (in_memory ? 0711 : 0751));
  if (in_memory) CHECK(strcmp(before, after) == 0 && here.st_uid == 12 && chdir("..") == 0 && rmdir("below") == 0);
  if (in_memory) CHECK(rmdir(name) == 0);
  if (!in_memory) CHECK(here.st_nlink == 0 && open("file", O_CREAT | O_RDWR, 0600) == -1 && errno == ENOENT);
  return 0;
}

static int root_without_disk(bool in_memory) {
  char name[] = "/dev/shm/kernel-swap-test-XXXXXX";
  if (in_memory && !mkdtemp(name)) skip("no /dev/shm");
  int outside = open(in_memory ? name : ".", O_PATH | O_DIRECTORY), shared = open("/dev/shm", O_PATH | O_DIRECTORY);
  CHECK(outside >= 0 && mkdirat(outside, "root", 0711) == 0 && fchownat(outside, "root", 12, 34, 0) == 0);
  CHECK(fchdir(outside) == 0 && chroot("root") == 0 && (!in_memory || chdir("/") == 0));
  if (!in_memory) CHECK(unlinkat(outside, "root", AT_REMOVEDIR) == 0);
  struct stat before, here, root, above;
  CHECK(stat(".", &before) == 0);
  ready();
  CHECK(stat(".", &here) == 0 && stat("/", &root) == 0 && stat("/..", &above) == 0 && above.st_ino == root.st_ino);
  CHECK((root.st_mode & 07777) == 0711 && root.st_uid == 12 && root.st_gid == 34 && access("/proc", F_OK) == -1);
  CHECK(in_memory ? here.st_ino == root.st_ino : here.st_ino == before.st_ino && root.st_nlink == 0);
  if (in_memory) CHECK(unlinkat(outside, "root", AT_REMOVEDIR) == 0);
  if (in_memory) CHECK(unlinkat(shared, strrchr(name, '/') + 1, AT_REMOVEDIR) == 0);
  return 0;
}

int main(int count, char** arguments) {
  const char* kind = count > 1 ? arguments[1] : "";
  CHECK(mkdir("top", 0755) == 0 && mkdir("top/inside", 0755) == 0 && mkdir("beside", 0755) == 0);
  close(open("top/inside/here", O_CREAT | O_WRONLY, 0600));
  close(open("beside/there", O_CREAT | O_WRONLY, 0600));
  if (!strcmp(kind, "deleted") || !strcmp(kind, "memory")) return without_disk(!strcmp(kind, "memory"));
  if (!strncmp(kind, "root_", 5)) return root_without_disk(!strcmp(kind, "root_memory"));
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
