// SPDX-License-Identifier: LGPL-2.1-or-later
// The signal that a child gets when its parent dies (PR_SET_PDEATHSIG), and the reaper that it then gets. By
// argument, a child of another user.
#include <sys/prctl.h>

#include "program.h"

int main(int count, char**) {
  CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
  auto* orphan = reinterpret_cast<volatile pid_t*>(map_memory(kPage, MAP_SHARED));
  pid_t self = getpid(), child = fork();
  if (child == 0) {
    if (fork() == 0) {
      if (count > 1) CHECK(setresgid(4242, 4242, 4242) == 0 && setresuid(4242, 4242, 4242) == 0);
      sigset_t usr1;
      sigemptyset(&usr1);
      sigaddset(&usr1, SIGUSR1);
      CHECK(sigprocmask(SIG_BLOCK, &usr1, nullptr) == 0 && prctl(PR_SET_PDEATHSIG, SIGUSR1) == 0);
      *orphan = getpid();
      int signal = 0;
      CHECK(sigwait(&usr1, &signal) == 0 && signal == SIGUSR1 && told());
      while (getppid() != self) usleep(1000);
      _exit(3);
    }
    wait_until_told();
    _exit(0);
  }
  while (!*orphan) usleep(1000);
  ready();
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  CHECK(waitpid(*orphan, &status, 0) == *orphan && WEXITSTATUS(status) == 3);
  return 0;
}
