// SPDX-License-Identifier: LGPL-2.1-or-later
// fanotify: a group that gets files with its events, one that gets names, one without privilege where the kernel
// tells; marks of a directory, a renamed one, a file, a mount and a file system; and an epoll that waits.
#include <sys/epoll.h>
#include <sys/fanotify.h>

#include <algorithm>
#include <vector>

#include "program.h"

static void touch(const char* name) {
  int fd = open(name, O_WRONLY | O_CREAT, 0600);
  CHECK(fd >= 0 && close(fd) == 0);
}
static int group(unsigned flags, unsigned event_flags) {
  int fd = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK | flags, event_flags);
  if (fd < 0) skip("no fanotify");
  return fd;
}
static void mark(int fd, unsigned how, uint64_t mask, const char* path) {
  CHECK(fanotify_mark(fd, FAN_MARK_ADD | how, mask, AT_FDCWD, path) == 0);
}
// What fdinfo tells, but for the numbers of mounts and of file systems in memory.
static std::vector<std::string> facts(int fd) {
  std::vector<std::string> lines;
  std::string text = content("/proc/self/fdinfo/" + std::to_string(fd));
  for (size_t at = 0; (at = text.find("fanotify ", at)) != std::string::npos; ++at) {
    std::string line = text.substr(at, text.find('\n', at) - at);
    if (!line.starts_with("fanotify ino:") && !line.starts_with("fanotify flags:"))
      line = line.substr(line.find(" mflags"));
    lines.push_back(line);
  }
  std::ranges::sort(lines);
  return lines;
}
struct Seen {
  uint64_t mask = 0;
  pid_t pid = 0;
  std::string name;
};
static Seen next(int fd) {
  alignas(fanotify_event_metadata) char bytes[4096];
  ssize_t got = read(fd, bytes, FAN_EVENT_METADATA_LEN + 64);
  CHECK(got >= static_cast<ssize_t>(FAN_EVENT_METADATA_LEN));
  auto* event = reinterpret_cast<fanotify_event_metadata*>(bytes);
  CHECK(event->event_len == got);
  Seen seen{event->mask, event->pid, ""};
  if (event->fd >= 0) {
    char path[256];
    ssize_t length = readlink(("/proc/self/fd/" + std::to_string(event->fd)).c_str(), path, sizeof path);
    CHECK(length > 0 && close(event->fd) == 0);
    seen.name = std::string(path, static_cast<size_t>(length));
    seen.name = seen.name.substr(seen.name.rfind('/') + 1);
  } else {
    auto* info = reinterpret_cast<fanotify_event_info_fid*>(event + 1);
    auto* handle = reinterpret_cast<file_handle*>(info->handle);
    if (info->hdr.info_type == FAN_EVENT_INFO_TYPE_DFID_NAME)
      seen.name = reinterpret_cast<char*>(handle->f_handle + handle->handle_bytes);
  }
  return seen;
}
static bool is_empty(int fd) {
  char bytes[64];
  return read(fd, bytes, sizeof bytes) == -1 && errno == EAGAIN;
}

int main() {
  CHECK(mkdir("top", 0700) == 0 && mkdir("old", 0700) == 0);
  touch("top/file");
  touch("top/ignored");
  int files = group(FAN_UNLIMITED_QUEUE, O_RDONLY | O_CLOEXEC), names = group(FAN_REPORT_DFID_NAME, O_RDWR),
      whole = group(FAN_UNLIMITED_MARKS | FAN_REPORT_TID, O_RDONLY | O_NOATIME);
  mark(files, 0, FAN_OPEN | FAN_CLOSE_WRITE | FAN_EVENT_ON_CHILD, "top");
  mark(files, FAN_MARK_IGNORED_MASK | FAN_MARK_IGNORED_SURV_MODIFY, FAN_OPEN | FAN_CLOSE_WRITE, "top/ignored");
  mark(names, FAN_MARK_ONLYDIR, FAN_CREATE | FAN_DELETE | FAN_ONDIR, "old");
  mark(names, 0, FAN_ATTRIB, "top/file");
  CHECK(rename("old", "new") == 0);
  // What nobody does there.
  mark(whole, FAN_MARK_FILESYSTEM, FAN_OPEN_EXEC, "/dev/shm");
  mark(whole, FAN_MARK_MOUNT, FAN_OPEN_EXEC, "/dev/shm");
  fcntl(whole, F_SETFL, 0);
  int epoll = epoll_create1(0);
  epoll_event event{EPOLLIN | EPOLLET, {.u64 = 5}};
  CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, files, &event) == 0 && epoll_wait(epoll, &event, 1, 0) == 0);
  auto of_files = facts(files), of_names = facts(names), of_whole = facts(whole);
  CHECK(of_files.size() == 3 && of_names.size() == 3 && of_whole.size() == 3);
  ready();
  CHECK(facts(files) == of_files && facts(names) == of_names && facts(whole) == of_whole);
  CHECK(is_empty(files) && is_empty(names) && epoll_wait(epoll, &event, 1, 0) == 0);
  touch("top/ignored");
  CHECK(is_empty(files));
  touch("top/file");
  CHECK(epoll_wait(epoll, &event, 1, 0) == 1 && event.data.u64 == 5);
  Seen seen = next(files);  // one event, since they are alike but for what has happened
  CHECK(seen.mask & FAN_OPEN && seen.pid == getpid() && seen.name == "file");
  while (!is_empty(files)) continue;
  touch("new/a");
  seen = next(names);
  CHECK(seen.mask == FAN_CREATE && seen.name == "a" && seen.pid == getpid());
  CHECK(mkdir("new/b", 0700) == 0);
  seen = next(names);
  CHECK(seen.mask == (FAN_CREATE | FAN_ONDIR) && seen.name == "b");
  CHECK(chmod("top/file", 0644) == 0 && next(names).mask == FAN_ATTRIB && is_empty(names));
  CHECK(!(fcntl(whole, F_GETFL) & O_NONBLOCK) && fcntl(files, F_GETFD) == FD_CLOEXEC);
  return 0;
}
