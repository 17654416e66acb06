// SPDX-License-Identifier: LGPL-2.1-or-later
// What a daemon keeps in a directory of its own below /run: files that are open, mapped, locked or none of these,
// under several names, links, FIFOs, a socket; it stands there, and watches it.
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/xattr.h>

#include "program.h"

static const std::string kPlace = "/dev/shm/kernel-swap-test-" + std::to_string(getpid());
static std::string in(const char* name) { return kPlace + "/" + name; }

static int make(const char* name, const std::string& text, int flags = O_RDWR) {
  int fd = open(in(name).c_str(), flags | O_CREAT | O_EXCL, 0640);
  CHECK(fd >= 0 && write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  return fd;
}
static struct stat facts(const char* name) {
  struct stat stat;
  if (lstat(in(name).c_str(), &stat)) failed(name, __FILE_NAME__, __LINE__);
  return stat;
}
static bool leads_to(int fd, const char* name) {
  struct stat stat;
  return fstat(fd, &stat) == 0 && stat.st_ino == facts(name).st_ino && stat.st_dev == facts(name).st_dev;
}

int main() {
  CHECK(mkdir(kPlace.c_str(), 0751) == 0 && mkdir(in("empty").c_str(), 0700) == 0 &&
        mkdir(in("home").c_str(), 0711) == 0);
  CHECK(chdir(in("home").c_str()) == 0);
  std::string pid = std::to_string(getpid()) + "\n";
  close(make("own.pid", pid));
  pid_t ended = fork_to([] {});
  CHECK(waitpid(ended, nullptr, 0) == ended);
  close(make("old.pid", std::to_string(ended) + "\n"));
  close(make("one", "several names"));
  CHECK(link(in("one").c_str(), in("home/two").c_str()) == 0 && symlink("/etc/passwd", in("link").c_str()) == 0);
  timespec times[] = {{1, 2}, {3, 4}};
  CHECK(utimensat(AT_FDCWD, in("one").c_str(), times, 0) == 0 && chown(in("one").c_str(), 0, 4711) == 0);
  bool attributes = setxattr(in("one").c_str(), "trusted.test", "x", 1, 0) == 0;
  int locked = make("lock", pid), log = make("log", "first\n", O_WRONLY | O_APPEND);
  CHECK(flock(locked, LOCK_EX) == 0);
  close(make("read", "read only"));
  int reader = open(in("read").c_str(), O_RDONLY);
  int sparse = make("mapped", "");
  CHECK(ftruncate(sparse, 4 * kPage) == 0);
  auto* mapped = static_cast<char*>(mmap(nullptr, 4 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, sparse, 0));
  CHECK(mapped != MAP_FAILED && close(sparse) == 0);
  fill_page(mapped + kPage, 1);
  CHECK(mkfifo(in("fifo").c_str(), 0620) == 0 && mkfifo(in("other").c_str(), 0600) == 0);
  int fifo = open(in("fifo").c_str(), O_RDWR);
  CHECK(write(fifo, "waits", 5) == 5);
  sockaddr_un address{.sun_family = AF_UNIX};
  strcpy(address.sun_path, in("socket").c_str());
  int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  CHECK(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 && listen(listener, 1) == 0);
  int watch = inotify_init1(IN_NONBLOCK);
  CHECK(inotify_add_watch(watch, in("home").c_str(), IN_CREATE) >= 0);
  ready();

  CHECK(content(in("own.pid")) == pid && access(in("old.pid").c_str(), F_OK) == -1);
  CHECK(facts("one").st_ino == facts("home/two").st_ino && facts("one").st_nlink == 2 && facts("one").st_gid == 4711);
  CHECK(facts("one").st_mtim.tv_sec == 3 && facts("one").st_mtim.tv_nsec == 4 && S_ISLNK(facts("link").st_mode));
  char value = 0;
  CHECK(!attributes || (getxattr(in("one").c_str(), "trusted.test", &value, 1) == 1 && value == 'x'));
  CHECK((facts("empty").st_mode & 07777) == 0700 && (facts("").st_mode & 07777) == 0751);
  CHECK(leads_to(locked, "lock") && leads_to(log, "log") && leads_to(reader, "read") && leads_to(fifo, "fifo"));
  int again = open(in("lock").c_str(), O_RDWR);
  CHECK(flock(again, LOCK_EX | LOCK_NB) == -1 && content(in("lock")) == pid);
  CHECK(write(log, "second\n", 7) == 7 && content(in("log")) == "first\nsecond\n");
  char text[16]{};
  CHECK(pread(reader, text, sizeof text, 0) == 9 && !strcmp(text, "read only"));
  alignas(kPage) static char page[kPage];
  int file = open(in("mapped").c_str(), O_RDWR);
  CHECK(facts("mapped").st_size == 4 * kPage && page_is(mapped + kPage, 1));
  fill_page(mapped, 2);
  CHECK(pread(file, page, kPage, 0) == kPage && page_is(page, 2));
  CHECK(read(fifo, text, sizeof text) == 5 && S_ISFIFO(facts("other").st_mode));
  int client = socket(AF_UNIX, SOCK_STREAM, 0);
  CHECK(connect(client, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 &&
        accept(listener, nullptr, nullptr) >= 0);
  CHECK(read(watch, page, sizeof page) == -1 && errno == EAGAIN);
  CHECK(close(open("new", O_CREAT | O_WRONLY, 0600)) == 0 && read(watch, page, sizeof page) > 0);
  CHECK(access(in("home/new").c_str(), F_OK) == 0);
}
