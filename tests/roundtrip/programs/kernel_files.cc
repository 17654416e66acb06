// SPDX-License-Identifier: LGPL-2.1-or-later
// Files of /proc, /sys and control groups: of the process itself, of its thread, its child, and of the whole machine.
#include <sys/vfs.h>

#include <string>
#include <thread>

#include "program.h"

static std::string text_of(int fd) {
  char bytes[65536];
  CHECK(lseek(fd, 0, SEEK_SET) == 0);
  ssize_t got = read(fd, bytes, sizeof bytes);
  CHECK(got > 0);
  return {bytes, static_cast<size_t>(got)};
}
static int opened(const std::string& path, int flags = O_RDONLY) {
  int fd = open(path.c_str(), flags);
  if (fd < 0) dprintf(STDOUT_FILENO, "%s\n", path.c_str());
  CHECK(fd >= 0);
  return fd;
}

int main() {
  pid_t child = fork();
  if (child == 0) {
    wait_until_told();
    _exit(0);
  }
  std::string of_child = "/proc/" + std::to_string(child) + "/";
  static int threads_comm = -1;
  std::thread thread([] {
    threads_comm = opened("/proc/thread-self/comm", O_RDWR | O_CLOEXEC);
    wait_until_told();
  });
  int maps = opened("/proc/self/maps"), status = opened(of_child + "status"), version = opened("/proc/version");
  int meminfo = opened("/proc/meminfo"), ostype = opened("/proc/sys/kernel/ostype"),
      score = opened("/proc/self/oom_score_adj", O_RDWR);
  int cpus = opened("/sys/devices/system/cpu/possible"), net = opened("/proc/self/net/dev");
  // What has been logged and not read is not to be taken from whoever reads it on this machine.
  int log = opened("/proc/kmsg", O_RDONLY | O_NONBLOCK);
  int directory = opened("/proc/self/fd", O_RDONLY | O_DIRECTORY), proc = opened("/proc", O_PATH),
      sys = opened("/sys/kernel", O_RDONLY | O_DIRECTORY);
  int group = open("/sys/fs/cgroup/cgroup.controllers", O_RDONLY);
  if (group < 0) group = open("/sys/fs/cgroup/unified/cgroup.controllers", O_RDONLY);
  char start[6]{}, rest[6]{};
  CHECK(read(version, start, 5) == 5 && text_of(meminfo).size() > 100);
  off_t end = lseek(meminfo, 0, SEEK_CUR);
  while (threads_comm < 0) usleep(1000);
  ready();
  thread.join();
  CHECK(strcmp(start, "Linux") == 0 && read(version, rest, 5) == 5 && strcmp(rest, " vers") == 0);
  CHECK(lseek(meminfo, 0, SEEK_CUR) == end && text_of(meminfo).find("MemTotal") != std::string::npos);
  CHECK(text_of(maps).find("kernel_files") != std::string::npos);
  CHECK(text_of(status).find("\nPid:\t" + std::to_string(child) + "\n") != std::string::npos);
  CHECK(text_of(ostype) == "Linux\n" && text_of(cpus)[0] == '0' && text_of(net).find("lo:") != std::string::npos);
  CHECK(pwrite(score, "17", 2, 0) == 2 && text_of(opened("/proc/self/oom_score_adj")) == "17\n");
  CHECK(fcntl(threads_comm, F_GETFD) == FD_CLOEXEC && fcntl(proc, F_GETFL) & O_PATH);
  CHECK(faccessat(directory, std::to_string(directory).c_str(), F_OK, 0) == 0 && faccessat(sys, "mm", F_OK, 0) == 0);
  CHECK(faccessat(proc, "self", F_OK, 0) == 0 && (group < 0 || lseek(group, 0, SEEK_CUR) == 0));
  pollfd logged{.fd = log, .events = POLLIN, .revents = 0};
  CHECK(poll(&logged, 1, 0) >= 0 && fcntl(log, F_GETFL) & O_NONBLOCK);
  CHECK(waitpid(child, nullptr, 0) == child && pread(status, rest, 5, 0) == -1 && errno == ESRCH);
  return 0;
}
