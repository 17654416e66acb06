// SPDX-License-Identifier: LGPL-2.1-or-later
// Control groups of its own: of cgroup v2 one below another for a child, with settings, owner and attribute, and a
// threaded one for a thread; and where there is a hierarchy of cgroup v1 that has no controller, one for another
// child, of which a thread is elsewhere.
#include <sys/xattr.h>

#include <string>
#include <thread>
#include <vector>

#include "program.h"

static std::string groups() { return content("/proc/thread-self/cgroup"); }

static std::vector<std::string> made;
static std::string make_group(const std::string& path) {
  if (mkdir(path.c_str(), 0751)) skip("no control groups can be made");
  made.push_back(path);
  return path;
}

// Of cgroup v2, where this process is.
static std::string find_unified() {
  std::string text = groups(), path;
  size_t at = text.find("0::/");
  if (at == std::string::npos) skip("no cgroup v2");
  path = text.substr(at + 3, text.find('\n', at) - at - 3);
  for (std::string top : {"/sys/fs/cgroup/unified", "/sys/fs/cgroup"})
    if (access((top + path + "/cgroup.threads").c_str(), F_OK) == 0) return top + (path == "/" ? "" : path);
  skip("cgroup v2 is not mounted");
}

static int tell[2];
// Whoever restores may be in another group.
static std::string own_groups() {
  std::string text = groups(), own;
  for (size_t at = 0, end = 0; (end = text.find('\n', at)) != text.npos; at = end + 1) {
    std::string line = text.substr(at, end - at);
    size_t name = line.find("/kernel-swap-test-");
    own += line.substr(0, line.find(':', line.find(':') + 1)) + (name == line.npos ? "" : line.substr(name)) + "\n";
  }
  return own;
}
static void stay() {
  std::string before = own_groups();
  CHECK(write(tell[1], "x", 1) == 1);
  wait_until_told();
  CHECK(own_groups() == before);
}

int main() {
  CHECK(pipe(tell) == 0);
  std::string name = "/kernel-swap-test-" + std::to_string(getpid()), top = find_unified();
  std::string outer = make_group(top + name), inner = make_group(outer + "/inner");
  // Elsewhere the other groups could hold no process beside a threaded one.
  bool at_top = groups().find("0::/\n") != std::string::npos;
  std::string threads = top + name + "-threads", named;
  if (at_top) put(make_group(threads) + "/cgroup.type", "threaded");
  put(outer + "/cgroup.max.descendants", "7");
  CHECK(chown(outer.c_str(), 1, 2) == 0 && chown((inner + "/cgroup.procs").c_str(), 3, 4) == 0);
  bool attributes = setxattr(inner.c_str(), "trusted.kernel-swap", "test", 4, 0) == 0;
  pid_t child = fork();
  if (child == 0) {
    put(inner + "/cgroup.procs", std::to_string(getpid()));
    stay();
    _exit(0);
  }
  int count = at_top ? 2 : 1;
  pid_t other = 0;
  if (access("/sys/fs/cgroup/systemd/tasks", F_OK) == 0 && groups().find("name=systemd:/\n") != std::string::npos) {
    named = make_group("/sys/fs/cgroup/systemd" + name);
    other = fork();
    if (other == 0) {
      put(named + "/cgroup.procs", std::to_string(getpid()));
      std::thread apart([] {
        put("/sys/fs/cgroup/systemd/tasks", std::to_string(syscall(SYS_gettid)));
        stay();
      });
      stay();
      apart.join();
      _exit(0);
    }
    count += 2;
  }
  std::thread thread;
  if (at_top)
    thread = std::thread([&] {
      put(threads + "/cgroup.threads", std::to_string(syscall(SYS_gettid)));
      stay();
    });
  char byte;
  for (int i = 0; i < count; ++i) CHECK(read(tell[0], &byte, 1) == 1);
  std::string before = own_groups();
  ready();
  CHECK(own_groups() == before);
  if (at_top) thread.join();
  for (pid_t pid : {child, other}) {
    int status;
    CHECK(!pid || (waitpid(pid, &status, 0) == pid && status == 0));
  }
  struct stat facts;
  CHECK(stat(outer.c_str(), &facts) == 0 && facts.st_uid == 1 && facts.st_gid == 2 &&
        (facts.st_mode & 07777) == 0751);
  CHECK(stat((inner + "/cgroup.procs").c_str(), &facts) == 0 && facts.st_uid == 3 && facts.st_gid == 4);
  CHECK(content(outer + "/cgroup.max.descendants") == "7\n");
  CHECK(!at_top || content(threads + "/cgroup.type") == "threaded\n");
  char value[16];
  CHECK(!attributes || (getxattr(inner.c_str(), "trusted.kernel-swap", value, 16) == 4 && !memcmp(value, "test", 4)));
  for (; !made.empty(); made.pop_back())
    for (int i = 0; rmdir(made.back().c_str()); ++i) {  // until all that were there are gone
      CHECK(errno == EBUSY && i < 1000);
      usleep(1000);
    }
  return 0;
}
