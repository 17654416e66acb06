// SPDX-License-Identifier: LGPL-2.1-or-later
// Files that are not open under the name that they have now: renamed, deleted with another name left, with another
// file under their name; what may not be opened any more by the owner; O_PATH of all kinds; a descriptor number as
// high as the limit was.
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "program.h"

static int make(const char* name, int flags = O_RDWR) {
  int fd = open(name, flags | O_CREAT | O_TRUNC, 0640);
  CHECK(fd >= 0);
  return fd;
}
static bool is_at(int fd, const char* name) {
  struct stat one, other;
  return fstat(fd, &one) == 0 && lstat(name, &other) == 0 && one.st_ino == other.st_ino && one.st_dev == other.st_dev;
}
static uint64_t hint(int fd) {
  uint64_t value = 99;
  return fcntl(fd, F_GET_RW_HINT, &value) ? 99 : value;
}

int main() {
  int renamed = make("renamed", O_WRONLY | O_APPEND | O_SYNC);
  CHECK(mkdir("away", 0700) == 0 && rename("renamed", "away/now") == 0);
  int linked = make("linked"), taken = make("taken");
  CHECK(write(linked, "0123456789", 10) == 10 && lseek(linked, 3, SEEK_SET) == 3 && ftruncate(taken, 3 * kPage) == 0);
  CHECK(link("linked", "other") == 0 && unlink("linked") == 0);
  int again = open("other", O_RDONLY);
  CHECK(link("taken", "kept") == 0 && unlink("taken") == 0 && close(make("taken")) == 0 && again >= 0);

  int mapped = make("mapped");
  CHECK(ftruncate(mapped, 2 * kPage) == 0);
  auto* shared = static_cast<char*>(mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, mapped, 0));
  auto* own = static_cast<char*>(mmap(nullptr, 2 * kPage, PROT_READ, MAP_PRIVATE, mapped, 0));
  CHECK(shared != MAP_FAILED && own != MAP_FAILED);
  fill_page(shared, 1);
  CHECK(link("mapped", "mapped2") == 0 && unlink("mapped") == 0 && close(mapped) == 0);

  CHECK(mkdir("closed", 0700) == 0);
  int forbidden = make("closed/file", O_WRONLY | O_DSYNC);
  CHECK(fchown(forbidden, 12, 34) == 0 && fchmod(forbidden, 0) == 0 && chmod("closed", 0) == 0);
  int direct = open("other", O_RDONLY | O_DIRECT);
  uint64_t forever = RWH_WRITE_LIFE_EXTREME;
  bool hinted = fcntl(forbidden, F_SET_RW_HINT, &forever) == 0;

  CHECK(symlink("other", "symbolic") == 0);
  int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{AF_UNIX, "socket"};
  CHECK(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 && close(listener) == 0);
  int paths[] = {open("symbolic", O_PATH | O_NOFOLLOW), open("socket", O_PATH), open("/dev/null", O_PATH),
                 open("away", O_PATH | O_DIRECTORY)};
  for (int fd : paths) CHECK(fd >= 0);

  rlimit before, lowered;
  CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0 && before.rlim_max > 1000);
  lowered = before;
  rlim_t most = before.rlim_max < 500'000 ? before.rlim_max : 500'000;
  before.rlim_cur = most;
  int highest = static_cast<int>(most) - 1;
  CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0 && dup3(linked, highest, O_CLOEXEC) == highest);
  lowered.rlim_cur = 200;
  CHECK(setrlimit(RLIMIT_NOFILE, &lowered) == 0);
  int flags[] = {fcntl(renamed, F_GETFL), fcntl(linked, F_GETFL), fcntl(forbidden, F_GETFL)};

  ready();
  CHECK(fcntl(renamed, F_GETFL) == flags[0] && fcntl(linked, F_GETFL) == flags[1]);
  CHECK(fcntl(forbidden, F_GETFL) == flags[2] && write(forbidden, "x", 1) == 1);
  CHECK(write(renamed, "x", 1) == 1 && is_at(renamed, "away/now"));
  char bytes[16]{};
  CHECK(is_at(linked, "other") && access("linked", F_OK) == -1 && read(highest, bytes, 2) == 2 && bytes[0] == '3');
  CHECK(lseek(linked, 0, SEEK_CUR) == 5 && pwrite(linked, "new", 3, 0) == 3 && read(again, bytes, 3) == 3);
  CHECK(memcmp(bytes, "new", 3) == 0 && fcntl(highest, F_GETFD) == FD_CLOEXEC);
  struct stat facts;
  CHECK(is_at(taken, "kept") && !is_at(taken, "taken") && fstat(taken, &facts) == 0 && facts.st_nlink == 1);
  CHECK(page_is(shared, 1) && page_is(own, 1));
  fill_page(shared + kPage, 2);
  int other = open("mapped2", O_RDONLY);
  CHECK(page_is(own + kPage, 2) && pread(other, bytes, 8, kPage) == 8 && memcmp(bytes, shared + kPage, 8) == 0);
  if (direct >= 0) CHECK(fcntl(direct, F_GETFL) & O_DIRECT);
  CHECK(!hinted || hint(forbidden) == forever);
  const char* names[] = {"symbolic", "socket", "/dev/null", "away"};
  for (int i = 0; i < 4; ++i) CHECK(is_at(paths[i], names[i]) && fcntl(paths[i], F_GETFL) & O_PATH);
  CHECK(readlinkat(paths[0], "", bytes, sizeof bytes) == 5 && memcmp(bytes, "other", 5) == 0);
  CHECK(faccessat(paths[3], "now", F_OK, 0) == 0 && dup(linked) >= 0 && dup2(linked, 300) == -1);
  for (const char* name : {"away/now", "closed/file"}) CHECK(unlink(name) == 0);
  return 0;
}
