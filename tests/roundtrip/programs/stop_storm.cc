// SPDX-License-Identifier: LGPL-2.1-or-later
// A child that is stopped and continued all the time: whatever moment a dump finds, no stop and no continuation is
// lost.
#include <atomic>

#include "program.h"

int main() {
  auto* count = reinterpret_cast<std::atomic<uint64_t>*>(map_memory(kPage, MAP_SHARED));
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0)
    for (;;) ++*count;
  say_ready();
  int status;
  for (bool last = false; !last;) {
    last = told();
    CHECK(kill(child, SIGSTOP) == 0);
    CHECK(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    uint64_t before = *count;
    usleep(300);
    CHECK(*count == before);
    CHECK(kill(child, SIGCONT) == 0);
    while (*count == before) usleep(50);
  }
  CHECK(kill(child, SIGKILL) == 0 && waitpid(child, &status, 0) == child && WIFSIGNALED(status));
  return 0;
}
