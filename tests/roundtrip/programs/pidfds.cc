// SPDX-License-Identifier: LGPL-2.1-or-later
// pidfds: of this process, a child, a thread, one that has ended, and of the manager; watched by an epoll.
#include <poll.h>
#include <sys/epoll.h>

#include <thread>

#include "program.h"

static int of(pid_t pid, unsigned flags = 0) {
  int fd = static_cast<int>(syscall(SYS_pidfd_open, pid, flags));
  CHECK(fd >= 0);
  return fd;
}
static short state(int fd) {
  pollfd query{.fd = fd, .events = POLLIN, .revents = 0};
  CHECK(poll(&query, 1, 0) >= 0);
  return query.revents;
}

int main() {
  int self = of(getpid()), go[2];
  CHECK(pipe(go) == 0);
  pid_t child = fork();
  if (child == 0) {
    char byte;
    close(go[1]);
    CHECK(read(go[0], &byte, 1) == 0);
    CHECK(syscall(SYS_pidfd_send_signal, self, SIGUSR1, nullptr, 0) == 0);  // its parent's, inherited
    _exit(7);
  }
  pid_t short_lived = fork();
  if (short_lived == 0) _exit(3);
  int of_child = of(child, O_NONBLOCK), dead = of(short_lived);
  CHECK(waitpid(short_lived, nullptr, 0) == short_lived && state(dead) & POLLIN);
  int of_thread = -1;
  volatile bool finish = false;
  volatile pid_t tid = 0;
  std::thread thread([&] {
    tid = static_cast<pid_t>(syscall(SYS_gettid));
    while (!finish) usleep(1000);
  });
  while (!tid) usleep(1000);
  of_thread = static_cast<int>(syscall(SYS_pidfd_open, tid, O_EXCL));  // PIDFD_THREAD, where there is such
  int epoll = epoll_create1(0);
  epoll_event event{EPOLLIN, {.u64 = 5}};
  CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, of_child, &event) == 0);
  signal(SIGUSR1, SIG_IGN);
  int manager = static_cast<int>(syscall(SYS_pidfd_open, 1, 0));  // whoever it is, it is there again
  ready();
  CHECK(manager < 0 ||
        (state(manager) == 0 &&
         content("/proc/self/fdinfo/" + std::to_string(manager)).find("Pid:\t1\n") != std::string::npos));
  CHECK(fcntl(of_child, F_GETFL) & O_NONBLOCK && !(fcntl(self, F_GETFL) & O_NONBLOCK));
  CHECK(state(self) == 0 && state(of_child) == 0 && state(dead) & POLLIN);
  CHECK(syscall(SYS_pidfd_send_signal, self, 0, nullptr, 0) == 0 &&
        syscall(SYS_pidfd_send_signal, of_child, 0, nullptr, 0) == 0);
  CHECK(syscall(SYS_pidfd_send_signal, dead, 0, nullptr, 0) == -1 && errno == ESRCH);
  CHECK(epoll_wait(epoll, &event, 1, 0) == 0);
  close(go[1]);
  CHECK(epoll_wait(epoll, &event, 1, -1) == 1 && event.data.u64 == 5);
  siginfo_t info;
  CHECK(waitid(static_cast<idtype_t>(3), static_cast<id_t>(of_child), &info, WEXITED) == 0 &&
        info.si_status == 7);  // P_PIDFD
  if (of_thread >= 0) CHECK(state(of_thread) == 0);
  finish = true;
  thread.join();
  // The kernel tells the one who joins first.
  for (int i = 0; of_thread >= 0 && !(state(of_thread) & POLLIN); ++i, usleep(1000)) CHECK(i < 60'000);
  return 0;
}
