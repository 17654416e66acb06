// SPDX-License-Identifier: LGPL-2.1-or-later
// What is left of those who have ended: a session and a group without their leaders, daemons that a subreaper
// has got, a group whose founder has joined another one, by argument also a deep or wide tree.
#include <sys/prctl.h>

#include <functional>

#include "program.h"

struct Place {
  pid_t pid, parent, group, session;
};
static Place* places;
static int* count;

static Place here() { return {getpid(), getppid(), getpgrp(), getsid(0)}; }

static void settle() { __atomic_fetch_add(count, 1, __ATOMIC_SEQ_CST); }
static void await_settled(int number) {
  while (__atomic_load_n(count, __ATOMIC_SEQ_CST) < number) usleep(1000);
}
static void reap(pid_t child) {
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
}
// Takes note of its place when everybody has come to theirs, and finds itself there again.
static void live(int index) {
  settle();
  while (!__atomic_load_n(&count[1], __ATOMIC_SEQ_CST)) usleep(1000);
  places[index] = here();
  settle();
  wait_until_told();
  Place now = here();
  CHECK(memcmp(&now, &places[index], sizeof now) == 0);
}

static void orphans() {
  CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
  // daemon(3), twice: the session's leader ends.
  reap(fork_to([] {
    CHECK(setsid() > 0);
    fork_to([] { live(0); });
    fork_to([] { CHECK(setpgid(0, 0) == 0), live(1); });
  }));
  // Its child was made before it opened its session.
  fork_to([] {
    fork_to([] { live(2); });
    CHECK(setsid() > 0);
    reap(fork_to([] { fork_to([] { live(3); }); }));
    live(4);
  });
  // A group that has lost its leader.
  reap(fork_to([] {
    CHECK(setpgid(0, 0) == 0);
    fork_to([] { live(5); });
    fork_to([] { live(6); });
  }));
  // A founder who has left its group to a child.
  fork_to([] {
    CHECK(setpgid(0, 0) == 0);
    fork_to([] { live(7); });
    CHECK(setpgid(0, getpgid(getppid())) == 0);
    live(8);
  });
  await_settled(9);
  CHECK(prctl(PR_SET_CHILD_SUBREAPER, 0) == 0);
  __atomic_store_n(&count[1], 1, __ATOMIC_SEQ_CST);
  await_settled(18);
}

int main(int, char** arguments) {
  count = reinterpret_cast<int*>(map_memory(kPage, MAP_SHARED));
  places = reinterpret_cast<Place*>(map_memory(kPage, MAP_SHARED));
  if (!strcmp(arguments[1], "orphans")) {
    orphans();
    ready();
    for (int status; waitpid(-1, &status, 0) > 0;) CHECK(status == 0);
    CHECK(errno == ECHILD);
    return 0;
  }
  const int processes = atoi(arguments[2]);
  bool deep = !strcmp(arguments[1], "deep");
  pid_t top = getpid();
  int fds[2];
  CHECK(pipe(fds) == 0);
  for (int i = 0; i < processes && (deep || getpid() == top); ++i) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (deep ? child != 0 : child == 0) break;
  }
  pid_t parent = getppid();
  settle();
  if (getpid() == top) {
    await_settled(deep ? processes : processes + 1);
    close(fds[0]);
    ready();
    close(fds[1]);
  } else {
    char byte;
    close(fds[1]);
    CHECK(read(fds[0], &byte, 1) == 0);  // the end of file comes when the first closes its end
    CHECK(getppid() == parent);
  }
  for (int status; waitpid(-1, &status, 0) > 0;) CHECK(status == 0);
  return 0;
}
