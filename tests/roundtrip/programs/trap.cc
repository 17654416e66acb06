// SPDX-License-Identifier: LGPL-2.1-or-later
// SIGTRAP, which ptrace uses: ignored, blocked and handled, in threads that are in the vDSO most of the time.
#include <pthread.h>

#include <thread>

#include "program.h"

static volatile int handled = 0;
static volatile bool finish = false;

static void spin() {
  while (!finish) now();
}

int main(int, char** arguments) {
  bool ignore = !strcmp(arguments[1], "ignored"), block = !strcmp(arguments[1], "blocked");
  signal(SIGTRAP, [](int) { handled = handled + 1; });
  if (ignore) signal(SIGTRAP, SIG_IGN);
  sigset_t trap, after;
  sigemptyset(&trap);
  sigaddset(&trap, SIGTRAP);
  if (block) CHECK(pthread_sigmask(SIG_BLOCK, &trap, nullptr) == 0);
  std::thread one(spin), two(spin);
  ready();
  CHECK(handled == 0);
  CHECK(pthread_sigmask(SIG_BLOCK, nullptr, &after) == 0 && sigismember(&after, SIGTRAP) == block);
  struct sigaction action;
  CHECK(sigaction(SIGTRAP, nullptr, &action) == 0 && (action.sa_handler == SIG_IGN) == ignore);
  raise(SIGTRAP);
  if (block) {
    CHECK(handled == 0 && pthread_sigmask(SIG_UNBLOCK, &trap, nullptr) == 0);
  }
  CHECK(handled == (ignore ? 0 : 1));
  finish = true;
  one.join();
  two.join();
  return 0;
}
