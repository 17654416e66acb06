// SPDX-License-Identifier: LGPL-2.1-or-later
// Descriptors of namespaces: all kinds of its own, and those of a child that has some for itself.
#include <sched.h>
#include <sys/stat.h>

#include <vector>

#include "program.h"

static ino_t number(const std::string& path) {
  struct stat facts;
  CHECK(stat(path.c_str(), &facts) == 0);
  return facts.st_ino;
}

int main() {
  int pipes[2], finish[2];
  CHECK(pipe(pipes) == 0 && pipe(finish) == 0);
  pid_t child = fork_to([&] {
    bool apart = unshare(CLONE_NEWUTS | CLONE_NEWIPC) == 0 && sethostname("apart", 5) == 0;
    CHECK(write(pipes[1], apart ? "y" : "n", 1) == 1);
    char end;
    CHECK(read(finish[0], &end, 1) == 1);
  });
  char answer;
  CHECK(read(pipes[0], &answer, 1) == 1);
  if (answer != 'y') skip("no namespaces");
  std::vector<std::pair<std::string, int>> held;
  for (const char* type : {"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"})
    held.emplace_back(std::string("/proc/self/ns/") + type, 0);
  for (const char* type : {"ipc", "uts"}) held.emplace_back("/proc/" + std::to_string(child) + "/ns/" + type, 0);
  for (auto& [path, fd] : held) CHECK((fd = open(path.c_str(), O_RDONLY | O_CLOEXEC)) >= 0);
  ready();
  for (const auto& [path, fd] : held) {
    struct stat facts;
    CHECK(fstat(fd, &facts) == 0 && facts.st_ino == number(path) && fcntl(fd, F_GETFD) == FD_CLOEXEC);
  }
  CHECK(setns(held.back().second, CLONE_NEWUTS) == 0);
  char name[65];
  CHECK(gethostname(name, sizeof name) == 0 && std::string(name) == "apart");
  int status;
  CHECK(write(finish[1], "y", 1) == 1);
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  return 0;
}
