// SPDX-License-Identifier: LGPL-2.1-or-later
// inotify: watches with gaps in their numbers, of a renamed directory, a file with two names, a link; and an epoll
// that waits for events. With the argument "chroot" in a root directory on which nothing is mounted.
#include <sys/epoll.h>
#include <sys/inotify.h>

#include "program.h"

static inotify_event next(int fd, size_t name = 16) {
  alignas(inotify_event) char bytes[4096];
  ssize_t got = read(fd, bytes, sizeof(inotify_event) + name);  // one at a time: names here are short
  CHECK(got >= static_cast<ssize_t>(sizeof(inotify_event)));
  inotify_event event;
  memcpy(&event, bytes, sizeof event);
  return event;
}
static void touch(const char* name) {
  int fd = open(name, O_WRONLY | O_CREAT, 0600);
  CHECK(fd >= 0 && close(fd) == 0);
}

int main(int count, char**) {
  CHECK(count == 1 || chroot(".") == 0);
  int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK), empty = inotify_init1(0);
  CHECK(mkdir("top", 0700) == 0 && mkdir("top/old", 0700) == 0 && mkdir("gone", 0700) == 0);
  touch("file");
  CHECK(link("file", "second") == 0 && symlink("file", "symbolic") == 0);
  CHECK(inotify_add_watch(fd, "gone", IN_CREATE) == 1 && inotify_add_watch(fd, "top", IN_CREATE | IN_ONLYDIR) == 2);
  CHECK(inotify_rm_watch(fd, 1) == 0 && inotify_add_watch(fd, "file", IN_ATTRIB | IN_ONESHOT) == 3);
  for (int i = 4; i < 300; ++i) CHECK(inotify_add_watch(fd, "gone", IN_CREATE) == i && inotify_rm_watch(fd, i) == 0);
  CHECK(inotify_add_watch(fd, "top/old", IN_CREATE | IN_EXCL_UNLINK) == 300);
  CHECK(inotify_add_watch(fd, "symbolic", IN_ATTRIB | IN_DONT_FOLLOW) == 301);
  CHECK(rename("top/old", "top/new") == 0);
  // In memory, but there as soon as it is mounted.
  int memory = count > 1 ? -1 : inotify_add_watch(empty, "/dev/shm", IN_DELETE_SELF);
  char bytes[65536];
  while (read(fd, bytes, sizeof bytes) > 0) {
  }
  int epoll = epoll_create1(0);
  epoll_event event{EPOLLIN | EPOLLET, {.u64 = 5}};
  CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0 && epoll_wait(epoll, &event, 1, 0) == 0);
  ready();
  CHECK(epoll_wait(epoll, &event, 1, 0) == 0 && read(fd, bytes, sizeof bytes) == -1 && errno == EAGAIN);
  touch("top/new/a");
  CHECK(epoll_wait(epoll, &event, 1, 0) == 1 && event.data.u64 == 5);
  inotify_event seen = next(fd);
  CHECK(seen.wd == 300 && seen.mask == IN_CREATE);
  touch("top/b");
  CHECK(next(fd).wd == 2);
  CHECK(chmod("second", 0644) == 0);
  seen = next(fd, 0);
  CHECK(seen.wd == 3 && seen.mask == IN_ATTRIB);
  seen = next(fd, 0);  // one shot
  CHECK(seen.wd == 3 && seen.mask == IN_IGNORED);
  CHECK(fchownat(AT_FDCWD, "symbolic", 0, 0, AT_SYMLINK_NOFOLLOW) == 0 && next(fd, 0).wd == 301);
  CHECK(read(fd, bytes, sizeof bytes) == -1 && errno == EAGAIN);
  CHECK(inotify_add_watch(fd, "gone", IN_CREATE) == 302);
  CHECK(!(fcntl(empty, F_GETFL) & O_NONBLOCK) && inotify_add_watch(empty, "top", IN_CREATE) == (memory < 0 ? 1 : 2));
  CHECK(memory < 0 || inotify_add_watch(empty, "/dev/shm", IN_DELETE_SELF | IN_MASK_ADD) == memory);
  return 0;
}
