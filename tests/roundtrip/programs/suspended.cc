// SPDX-License-Identifier: LGPL-2.1-or-later
// pause(2) and sigsuspend(2) go on waiting, with the mask that the program will have afterwards put back.
#include <pthread.h>

#include <thread>

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
  usleep(10'000);
  ready();
  CHECK(pthread_kill(pausing.native_handle(), SIGUSR1) == 0 && pthread_kill(suspended.native_handle(), SIGUSR1) == 0);
  pausing.join();
  suspended.join();
  CHECK(handled == 2);
  return 0;
}
