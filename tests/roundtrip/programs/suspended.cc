// SPDX-License-Identifier: LGPL-2.1-or-later
// pause(2), sigsuspend(2) and calls that take a signal mask go on waiting, with the mask that the program will have
// afterwards put back.
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include <functional>
#include <thread>
#include <vector>

#include "program.h"

static volatile int handled = 0;

int main() {
  signal(SIGUSR1, [](int) { handled = handled + 1; });
  std::thread pausing([] { CHECK(pause() == -1 && errno == EINTR && told()); });
  std::thread suspended([] {
    sigset_t usr1, none, after;
    sigemptyset(&none);
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    CHECK(pthread_sigmask(SIG_BLOCK, &usr1, nullptr) == 0);
    CHECK(sigsuspend(&none) == -1 && errno == EINTR && told());
    CHECK(pthread_sigmask(SIG_BLOCK, nullptr, &after) == 0 && sigismember(&after, SIGUSR1));
  });
  // Their mask holds for the call alone: what is blocked before and after comes through meanwhile.
  std::function<int(const sigset_t*)> waits[] = {
      [](const sigset_t* mask) { return ppoll(nullptr, 0, nullptr, mask); },
      [](const sigset_t* mask) {
        timespec limit{1000, 0};
        return ppoll(nullptr, 0, &limit, mask);
      },
      [](const sigset_t* mask) { return pselect(0, nullptr, nullptr, nullptr, nullptr, mask); },
      [](const sigset_t* mask) {
        int epoll = epoll_create1(0);
        epoll_event event;
        int result = epoll_pwait(epoll, &event, 1, 1000'000, mask);
        CHECK(close(epoll) == 0);
        return result;
      },
  };
  std::vector<std::thread> masked;
  for (auto& wait : waits)
    masked.emplace_back([&] {
      sigset_t usr1, none, after;
      sigemptyset(&none);
      sigemptyset(&usr1);
      sigaddset(&usr1, SIGUSR1);
      CHECK(pthread_sigmask(SIG_BLOCK, &usr1, nullptr) == 0);
      CHECK(wait(&none) == -1 && errno == EINTR && told());
      CHECK(pthread_sigmask(SIG_BLOCK, nullptr, &after) == 0 && sigismember(&after, SIGUSR1));
    });
  usleep(10'000);
  ready();
  CHECK(pthread_kill(pausing.native_handle(), SIGUSR1) == 0 && pthread_kill(suspended.native_handle(), SIGUSR1) == 0);
  pausing.join();
  suspended.join();
  for (auto& thread : masked) {
    CHECK(pthread_kill(thread.native_handle(), SIGUSR1) == 0);
    thread.join();
  }
  CHECK(handled == 6);
  return 0;
}
