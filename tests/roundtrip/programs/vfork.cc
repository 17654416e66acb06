// SPDX-License-Identifier: LGPL-2.1-or-later
// A parent inside vfork(2) cannot be stopped before its child calls execve(2): the freeze has to wait for that.
#include "program.h"

int main() {
  say_ready();
  pid_t child = vfork();
  if (child == 0) {
    timespec wait{0, 300 * kMillisecond};
    nanosleep(&wait, nullptr);
    execl("/bin/sh", "sh", "-c", "sleep 0.3; exit 7", nullptr);
    _exit(1);
  }
  wait_until_told();
  int status;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 7);
  return 0;
}
