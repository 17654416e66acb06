// SPDX-License-Identifier: LGPL-2.1-or-later
// Files and directories on disk that have been deleted, replaced, or never had a name, but are open or mapped.
#include <sys/xattr.h>

#include <string>

#include "program.h"

static int make(const char* name, int flags = O_RDWR) {
  int fd = open(name, flags | O_CREAT | O_TRUNC, 0640);
  CHECK(fd >= 0);
  return fd;
}
static char* map_of(int fd, size_t bytes, int protection, int kind = MAP_SHARED) {
  void* at = mmap(nullptr, bytes, protection, kind, fd, 0);
  CHECK(at != MAP_FAILED);
  return static_cast<char*>(at);
}
static bool holds(int fd, const char* text, off_t at) {
  char bytes[32]{};
  return pread(fd, bytes, strlen(text), at) == static_cast<ssize_t>(strlen(text)) && strcmp(bytes, text) == 0;
}

int main() {
  int log = make("log", O_RDWR | O_APPEND | O_NOFOLLOW);
  CHECK(write(log, "first\n", 6) == 6);
  int reader = open("log", O_RDONLY);
  int path_only = open("log", O_PATH);
  CHECK(reader >= 0 && path_only >= 0 && lseek(reader, 2, SEEK_SET) == 2 && unlink("log") == 0);

  int sparse = make("sparse");
  CHECK(ftruncate(sparse, 3'000'000'000) == 0 && pwrite(sparse, "far", 3, 2'000'000'001) == 3);
  bool attributes = fsetxattr(sparse, "user.colour", "blue", 4, 0) == 0;
  timespec times[] = {{1'000'000'000, 123}, {1'100'000'000, 456}};
  CHECK(fchown(sparse, 12, 34) == 0 && fchmod(sparse, 04751) == 0 && futimens(sparse, times) == 0 &&
        unlink("sparse") == 0);

  int old = make("replaced");
  CHECK(write(old, "old", 3) == 3 && close(make("new")) == 0 && rename("new", "replaced") == 0);

  int mapped = make("mapped");
  CHECK(ftruncate(mapped, 2 * kPage + 10) == 0);
  char* shared = map_of(mapped, 3 * kPage, PROT_READ | PROT_WRITE);
  char* own = map_of(mapped, 3 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE);
  CHECK(close(mapped) == 0 && unlink("mapped") == 0);
  fill_page(shared, 1);
  fill_page(shared + kPage, 2);
  fill_page(own, 3);

  int nameless = open(".", O_TMPFILE | O_RDWR, 0600);
  if (nameless >= 0) CHECK(write(nameless, "nameless", 8) == 8);
  CHECK(mkdir("directory", 0710) == 0);
  int directory = open("directory", O_RDONLY | O_DIRECTORY);
  CHECK(directory >= 0 && rmdir("directory") == 0);
  struct stat before, after;
  CHECK(fstat(sparse, &before) == 0);
  ready();
  CHECK(lseek(reader, 0, SEEK_CUR) == 2 && lseek(log, 0, SEEK_CUR) == 6 && write(log, "second\n", 7) == 7);
  CHECK(holds(reader, "first\nsecond\n", 0) && access("log", F_OK) == -1 && pwrite(reader, "x", 1, 0) == -1);
  CHECK(read(path_only, &after, 1) == -1 && errno == EBADF);
  CHECK(fstat(sparse, &after) == 0 && after.st_nlink == 0 && after.st_size == before.st_size);
  CHECK(after.st_mode == before.st_mode && after.st_uid == 12 && after.st_gid == 34 &&
        after.st_blocks <= before.st_blocks);
  CHECK(memcmp(&after.st_atim, &before.st_atim, sizeof(timespec)) == 0);
  CHECK(memcmp(&after.st_mtim, &before.st_mtim, sizeof(timespec)) == 0);
  CHECK(holds(sparse, "far", 2'000'000'001));
  char value[8];
  CHECK(!attributes || (fgetxattr(sparse, "user.colour", value, 8) == 4 && memcmp(value, "blue", 4) == 0));
  CHECK(holds(old, "old", 0) && stat("replaced", &after) == 0 && after.st_size == 0);
  CHECK(page_is(shared, 1) && page_is(shared + kPage, 2) && page_is(own, 3) && page_is(own + kPage, 2));
  fill_page(shared + kPage, 4);
  CHECK(page_is(own + kPage, 4));
  if (nameless >= 0) {
    CHECK(holds(nameless, "nameless", 0));
    CHECK(linkat(AT_FDCWD, ("/proc/self/fd/" + std::to_string(nameless)).c_str(), AT_FDCWD, "named",
                 AT_SYMLINK_FOLLOW) == 0);
  }
  CHECK(fstat(directory, &after) == 0 && S_ISDIR(after.st_mode) && (after.st_mode & 07777) == 0710);
  CHECK(openat(directory, "file", O_CREAT | O_RDWR, 0600) == -1 && errno == ENOENT);
  return 0;
}
