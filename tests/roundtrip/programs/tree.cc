// SPDX-License-Identifier: LGPL-2.1-or-later
// A tree of processes with sessions and process groups: one that opened a session after it had a child, one whose
// child moved to a group of its own, siblings in one group, a child that does not send SIGCHLD.
#include <sched.h>

#include "program.h"

static int* count;  // processes that are set up

// Sets up, waits, and finds its place in the tree unchanged; parent 0: whoever that is.
template <class... Children>
[[noreturn]] static void live(int status, pid_t parent, Children... children) {
  pid_t self = getpid(), group = getpgrp(), session = getsid(0);
  __atomic_fetch_add(count, 1, __ATOMIC_SEQ_CST);
  wait_until_told();
  CHECK(getpid() == self && getpgrp() == group && getsid(0) == session);
  CHECK(!parent || getppid() == parent);
  pid_t pids[] = {children..., 0};
  for (pid_t child : pids) {
    int ended;
    if (child)
      CHECK(waitpid(child, &ended, __WALL) == child && WIFEXITED(ended) && WEXITSTATUS(ended) == (child & 127));
  }
  CHECK(waitpid(-1, nullptr, __WALL) == -1 && errno == ECHILD);
  _exit(status);
}

static pid_t fork_silently() { return static_cast<pid_t>(syscall(SYS_clone, SIGUSR1, 0, 0, 0, 0)); }
static int code() { return getpid() & 127; }

int main() {
  count = reinterpret_cast<int*>(map_memory(kPage, MAP_SHARED));
  pid_t top = getpid();
  pid_t late = fork();  // opens its session after its first child
  if (late == 0) {
    pid_t self = getpid();
    pid_t before = fork();
    if (before == 0) live(code(), self);
    CHECK(setsid() == self);
    pid_t after = fork();
    if (after == 0) live(code(), self);
    live(code(), top, before, after);
  }
  pid_t leader = fork();  // a group with a sibling, and a grandchild with its own
  if (leader == 0) {
    pid_t self = getpid();
    CHECK(setpgid(0, 0) == 0);
    pid_t grandchild = fork();
    if (grandchild == 0) {
      CHECK(setpgid(0, 0) == 0);
      live(code(), self);
    }
    live(code(), top, grandchild);
  }
  CHECK(setpgid(leader, leader) == 0 || errno == EACCES);
  pid_t sibling = fork();
  if (sibling == 0) {
    CHECK(setpgid(0, leader) == 0);
    live(code(), top);
  }
  signal(SIGUSR1, SIG_IGN);
  pid_t silent = fork_silently();
  if (silent == 0) live(code(), top);
  while (__atomic_load_n(count, __ATOMIC_SEQ_CST) != 7) usleep(1000);
  say_ready();
  live(0, 0, late, leader, sibling, silent);
}
