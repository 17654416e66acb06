// SPDX-License-Identifier: LGPL-2.1-or-later
// Twice two siblings who share descriptors and directories with each other, but not with their parent, who has left
// them alone since, nor with the other two.
#include <sched.h>

#include <string>

#include "program.h"

static pid_t divide(int with) { return static_cast<pid_t>(syscall(SYS_clone, with | SIGCHLD, 0, 0, 0, 0)); }
static bool is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }
static mode_t mask() {
  mode_t is = umask(0);
  umask(is);
  return is;
}

struct Shared {
  volatile int done[2];
};
static Shared* shared;

// One of a pair changes what both have, the other sees it.
static void live(int pair, bool changes) {
  wait_until_told();
  CHECK(is_open(50 + pair) && !is_open(50 + 1 - pair));
  if (changes) {
    CHECK(dup2(STDOUT_FILENO, 60 + pair) == 60 + pair);
    umask(static_cast<mode_t>(1 + pair));
    shared->done[pair] = 1;
  } else {
    while (!shared->done[pair]) usleep(1000);
    CHECK(is_open(60 + pair) && !is_open(60 + 1 - pair) && mask() == static_cast<mode_t>(1 + pair));
  }
  _exit(0);
}

int main() {
  constexpr int kFlags = CLONE_FILES | CLONE_FS;
  shared = reinterpret_cast<Shared*>(map_memory(kPage, MAP_SHARED));
  umask(022);
  pid_t children[4];
  for (int pair = 0; pair < 2; ++pair) {
    CHECK(dup2(STDOUT_FILENO, 50 + pair) == 50 + pair);
    for (int i = 0; i < 2; ++i) {
      pid_t child = children[2 * pair + i] = divide(kFlags);
      if (child == 0) live(pair, i == 0);
    }
    CHECK(unshare(kFlags) == 0 && close(50 + pair) == 0);
  }
  ready();
  for (pid_t child : children) {
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
  }
  for (int pair = 0; pair < 2; ++pair) CHECK(!is_open(50 + pair) && !is_open(60 + pair));
  CHECK(mask() == 022);
  return 0;
}
