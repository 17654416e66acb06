// SPDX-License-Identifier: LGPL-2.1-or-later
// epoll: level- and edge-triggered and one-shot entries, in every state; one epoll in another; targets under numbers
// that are closed or lead elsewhere; data; several processes.
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "program.h"

static void add(int epoll, int fd, uint32_t events, uint64_t data) {
  epoll_event event{.events = events, .data = {.u64 = data}};
  CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
}
static void rearm(int epoll, int fd, uint32_t events, uint64_t data) {
  epoll_event event{.events = events, .data = {.u64 = data}};
  CHECK(epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event) == 0);
}
// The data of the one that is ready, 0 for none.
static uint64_t next(int epoll, int timeout = 0) {
  epoll_event event;
  int got = epoll_wait(epoll, &event, 1, timeout);
  CHECK(got >= 0);
  return got ? event.data.u64 : 0;
}
static void raise_count(int fd) {
  uint64_t one = 1;
  CHECK(write(fd, &one, sizeof one) == sizeof one);
}
// A kernel that does not tell whether an eventfd is a semaphore has to be tried (before 6.5), which is an edge.
static bool is_tried(int fd) {
  char path[64], text[512]{};
  snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
  int info = open(path, O_RDONLY);
  CHECK(info >= 0 && read(info, text, sizeof text - 1) > 0);
  close(info);
  return !strstr(text, "eventfd-semaphore:");
}
static void take_count(int fd) {
  uint64_t count;
  CHECK(read(fd, &count, sizeof count) == sizeof count);
}

int main() {
  int level = epoll_create1(EPOLL_CLOEXEC), edge = epoll_create1(0), once = epoll_create1(0),
      outer = epoll_create1(0);
  int high = eventfd(0, 0), low = eventfd(0, 0);
  raise_count(high);
  add(level, high, EPOLLIN, ~uint64_t{0});
  add(level, low, EPOLLIN | EPOLLEXCLUSIVE, 2);
  // Delivered, and not to come again.
  int seen = eventfd(0, 0);
  raise_count(seen);
  add(edge, seen, EPOLLIN | EPOLLOUT | EPOLLET, 3);
  CHECK(next(edge) == 3 && next(edge) == 0);
  // Not delivered yet.
  int other_edge = epoll_create1(0), unseen = eventfd(0, 0);
  raise_count(unseen);
  add(other_edge, unseen, EPOLLIN | EPOLLET, 4);
  // Armed, and fired: one that can be written, and an empty pipe that cannot even be that.
  int armed = eventfd(0, 0), spent = eventfd(0, 0), pipe_fds[2];
  CHECK(pipe(pipe_fds) == 0);
  add(once, armed, EPOLLIN | EPOLLONESHOT, 5);
  raise_count(spent);
  add(once, spent, EPOLLIN | EPOLLONESHOT, 6);
  add(once, pipe_fds[0], EPOLLIN | EPOLLONESHOT | EPOLLET, 7);
  CHECK(write(pipe_fds[1], "x", 1) == 1);
  char byte;
  CHECK(next(once) + next(once) == 13 && next(once) == 0 && read(pipe_fds[0], &byte, 1) == 1);
  // Nested, three deep.
  int middle = epoll_create1(0), inner = epoll_create1(0), deep = eventfd(0, 0);
  add(outer, middle, EPOLLIN, 8);
  add(middle, inner, EPOLLIN | EPOLLET, 9);
  add(inner, deep, EPOLLIN, 10);
  // Added under a number that is closed, one that is used again, and one above all that are open.
  int odd = epoll_create1(0), kept = eventfd(0, 0), again = eventfd(0, 0), far = eventfd(0, 0);
  int closed = dup(kept), reused = dup(again);
  add(odd, closed, EPOLLIN, 11);
  add(odd, reused, EPOLLIN, 12);
  CHECK(dup2(far, 900) == 900);
  add(odd, 900, EPOLLIN, 13);
  close(900);
  close(closed);
  int fresh = eventfd(0, 0);
  CHECK(fresh == closed && dup2(fresh, reused) == reused);
  add(odd, reused, EPOLLIN, 14);  // the same number twice

  pid_t child = fork();
  if (child == 0) {
    close(low);
    CHECK(next(level, -1) == ~uint64_t{0});  // what is ready is, in whichever process
    wait_until_told();
    CHECK(next(outer, -1) == 8);
    _exit(0);
  }
  await_closed(child, low);
  ready();
  epoll_event events[8];
  CHECK(fcntl(level, F_GETFD) == FD_CLOEXEC && epoll_wait(level, events, 8, 0) == 1);
  CHECK(events[0].data.u64 == ~uint64_t{0} && events[0].events == EPOLLIN);
  raise_count(low);
  CHECK(epoll_wait(level, events, 8, 0) == 2);
  take_count(high);
  CHECK(next(level) == 2);

  uint64_t repeated = next(edge);
  CHECK(repeated == 0 || (repeated == 3 && is_tried(seen)));
  raise_count(seen);
  CHECK(next(edge) == 3 && next(edge) == 0);
  CHECK(next(other_edge) == 4 && next(other_edge) == 0);

  CHECK(next(once) == 0);
  raise_count(armed);
  CHECK(next(once) == 5 && next(once) == 0);
  raise_count(spent);
  CHECK(write(pipe_fds[1], "y", 1) == 1 && next(once) == 0);
  rearm(once, spent, EPOLLIN | EPOLLONESHOT, 60);
  rearm(once, pipe_fds[0], EPOLLIN, 70);
  CHECK(next(once) + next(once) == 130 && read(pipe_fds[0], &byte, 1) == 1 && byte == 'y');

  CHECK(next(outer) == 0);
  raise_count(deep);
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  CHECK(next(middle) == 9 && next(middle) == 0 && next(inner) == 10);

  CHECK(next(odd) == 0);
  raise_count(kept);
  CHECK(next(odd) == 11);
  take_count(kept);
  raise_count(again);
  CHECK(next(odd) == 12);
  take_count(again);
  raise_count(far);
  CHECK(next(odd) == 13);
  take_count(far);
  raise_count(fresh);
  CHECK(next(odd) == 14 && epoll_ctl(odd, EPOLL_CTL_DEL, reused, nullptr) == 0 && next(odd) == 0);
  CHECK(dup2(again, reused) == reused && epoll_ctl(odd, EPOLL_CTL_DEL, reused, nullptr) == 0);
  raise_count(again);
  CHECK(next(odd) == 0);
  return 0;
}
