// SPDX-License-Identifier: LGPL-2.1-or-later
// Signals that are ignored come to the process all the time, from another one and of children that end: they wake
// nobody, as long as nobody traces those to whom they are sent, and no wait ends by them.
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <thread>
#include <vector>

#include "program.h"

// The C library's blocks signals meanwhile, and what is blocked is not ignored.
static pid_t plain_fork() {
  auto child = static_cast<pid_t>(syscall(SYS_fork));
  CHECK(child >= 0);
  return child;
}

int main() {
  constexpr int kOfEach = 4;
  sigset_t awaited;
  sigemptyset(&awaited);
  sigaddset(&awaited, SIGRTMIN);
  CHECK(pthread_sigmask(SIG_BLOCK, &awaited, nullptr) == 0);
  int event = eventfd(0, 0), epoll = epoll_create1(0);
  epoll_event input{.events = EPOLLIN, .data = {}};
  CHECK(event >= 0 && epoll >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, event, &input) == 0);
  std::vector<std::thread> waiters;
  for (int i = 0; i < kOfEach; ++i) {
    waiters.emplace_back([=] {
      epoll_event told_of;
      CHECK(epoll_wait(epoll, &told_of, 1, -1) == 1);
    });
    waiters.emplace_back([=] { CHECK(sigwaitinfo(&awaited, nullptr) == SIGRTMIN); });
  }
  // It has a child at all times; not so many that other tests would find the PIDs of what they restore taken.
  std::thread parent([] {
    auto short_lived = [] {
      pid_t child = plain_fork();
      if (child == 0) {
        usleep(10'000);
        _exit(0);
      }
      return child;
    };
    pid_t older = short_lived();
    for (bool last = false; !last;) {
      last = told();
      pid_t younger = last ? 0 : short_lived();
      CHECK(waitpid(older, nullptr, 0) == older);
      older = younger;
    }
  });
  pid_t sender = plain_fork();
  if (sender == 0) {
    for (pid_t parent = getppid(); !told() && getppid() == parent; usleep(50))
      CHECK(kill(parent, SIGWINCH) == 0 && kill(parent, SIGURG) == 0);
    _exit(0);
  }
  ready();
  parent.join();
  CHECK(waitpid(sender, nullptr, 0) == sender);
  CHECK(eventfd_write(event, 1) == 0);
  for (auto& waiter : waiters) CHECK(pthread_kill(waiter.native_handle(), SIGRTMIN) == 0);
  for (auto& waiter : waiters) waiter.join();
  return 0;
}
