// SPDX-License-Identifier: LGPL-2.1-or-later
// What clone(2) lets processes share as threads do, by argument: descriptors, directories, or both. A child and a
// grandchild share it with this process, and another child does not.
#include <sched.h>

#include <string>

#include "program.h"

static int flags = 0;

// As fork(2), with flags.
static pid_t divide(int with) { return static_cast<pid_t>(syscall(SYS_clone, with | SIGCHLD, 0, 0, 0, 0)); }

static std::string place() {
  char text[4096];
  CHECK(getcwd(text, sizeof text));
  return text;
}
// The mask is one of the directories' things.
static mode_t mask() {
  mode_t is = umask(0);
  umask(is);
  return is;
}
static bool is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

static void change(int turn) {
  std::string name = "d" + std::to_string(turn);
  CHECK(dup2(STDOUT_FILENO, 100 + turn) == 100 + turn);
  CHECK((mkdir(name.c_str(), 0700) == 0 || errno == EEXIST) && chdir(name.c_str()) == 0);
  umask(static_cast<mode_t>(turn));
}
static void check(int turn, const std::string& before) {
  bool descriptors = flags & CLONE_FILES, directories = flags & CLONE_FS;
  CHECK(is_open(100 + turn) == descriptors);
  CHECK(place() == (directories ? before + "/d" + std::to_string(turn) : before));
  CHECK(mask() == (directories ? static_cast<mode_t>(turn) : 022));
}

// Each waits for its turn, so that all can be seen by the others.
struct Turns {
  volatile int at;
};
static Turns* turns;
static void await(int turn) {
  while (turns->at != turn) usleep(1000);
}

int main(int count, char** arguments) {
  for (int i = 1; i < count; ++i) {
    if (!strcmp(arguments[i], "descriptors")) flags |= CLONE_FILES;
    if (!strcmp(arguments[i], "directories")) flags |= CLONE_FS;
  }
  turns = reinterpret_cast<Turns*>(map_memory(kPage, MAP_SHARED));
  umask(022);
  CHECK(fcntl(dup2(STDOUT_FILENO, 50), F_SETFD, FD_CLOEXEC) == 0);
  std::string before = place();
  pid_t alone = divide(0);
  if (alone == 0) {
    wait_until_told();
    await(3);
    CHECK(place() == before && mask() == 022 && !is_open(101) && !is_open(102));
    _exit(0);
  }
  pid_t child = divide(flags);
  if (child == 0) {
    pid_t grandchild = divide(flags);
    if (grandchild == 0) {
      wait_until_told();
      await(1);
      check(1, before);
      change(2);
      turns->at = 2;
      await(3);
      _exit(0);
    }
    await(3);
    int status;
    CHECK(waitpid(grandchild, &status, 0) == grandchild && status == 0);
    _exit(0);
  }
  ready();
  CHECK(is_open(50) && fcntl(50, F_GETFD) == FD_CLOEXEC);
  change(1);
  std::string now = place();
  turns->at = 1;
  await(2);
  bool descriptors = flags & CLONE_FILES, directories = flags & CLONE_FS;
  CHECK(is_open(102) == descriptors && mask() == (directories ? 2 : 1));
  CHECK(place() == (directories ? now + "/d2" : now));
  turns->at = 3;
  for (pid_t pid : {alone, child}) {
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
  }
  return 0;
}
