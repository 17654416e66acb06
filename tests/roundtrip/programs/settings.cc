// SPDX-License-Identifier: LGPL-2.1-or-later
// Limits, scheduling and prctl(2) switches. The driver compares what /proc shows; here is the rest, and some effects.
#include <sched.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <thread>

#include "program.h"

static void write_file(const char* path, const char* text) {
  int fd = open(path, O_WRONLY);
  CHECK(fd >= 0 && write(fd, text, strlen(text)) == static_cast<ssize_t>(strlen(text)) && close(fd) == 0);
}

struct Scheduling {
  int nice, policy, priority, io;
  unsigned long slack;
  cpu_set_t cpus;
};
static Scheduling scheduling() {
  Scheduling is{};
  errno = 0;
  is.nice = getpriority(PRIO_PROCESS, 0);
  sched_param parameter;
  CHECK((is.policy = sched_getscheduler(0)) >= 0 && sched_getparam(0, &parameter) == 0);
  is.priority = parameter.sched_priority;
  is.io = static_cast<int>(syscall(SYS_ioprio_get, 1, 0));
  is.slack = static_cast<unsigned long>(prctl(PR_GET_TIMERSLACK));
  CHECK(sched_getaffinity(0, sizeof is.cpus, &is.cpus) == 0);
  return is;
}

int main() {
  for (auto [which, soft, hard] : {std::tuple(RLIMIT_NOFILE, 100, 200), std::tuple(RLIMIT_CORE, 0, 0),
                                   std::tuple(RLIMIT_STACK, 4 << 20, 64 << 20), std::tuple(RLIMIT_CPU, 1000, 2000)}) {
    rlimit limit{static_cast<rlim_t>(soft), static_cast<rlim_t>(hard)};
    CHECK(setrlimit(which, &limit) == 0);
  }
  rlimit limits[RLIM_NLIMITS];
  for (int i = 0; i < static_cast<int>(RLIM_NLIMITS); ++i)
    CHECK(getrlimit(static_cast<__rlimit_resource>(i), &limits[i]) == 0);
  CHECK(setpriority(PRIO_PROCESS, 0, 7) == 0);
  cpu_set_t first;
  CPU_ZERO(&first);
  CPU_SET(0, &first);
  CHECK(sched_setaffinity(0, sizeof first, &first) == 0);
  write_file("/proc/self/oom_score_adj", "321");
  write_file("/proc/self/coredump_filter", "0x5");
  CHECK(prctl(PR_SET_TIMERSLACK, 123'456) == 0 && prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
  CHECK(prctl(PR_SET_PDEATHSIG, SIGUSR2) == 0 && prctl(PR_SET_DUMPABLE, 0) == 0);
  CHECK(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0 &&
        prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0) == 0);
  CHECK(personality(ADDR_NO_RANDOMIZE | SHORT_INODE) >= 0);
  CHECK(syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 6) == 0);
  volatile bool finish = false;
  std::thread thread([&] {
    sched_param parameter{.sched_priority = 3};
    if (sched_setscheduler(0, SCHED_RR, &parameter)) CHECK(errno == EPERM);
    CHECK(prctl(PR_SET_TIMERSLACK, 777) == 0 && syscall(SYS_ioprio_set, 1, 0, 3 << 13) == 0);
    auto before = scheduling();
    while (!finish) usleep(1000);
    auto after = scheduling();
    CHECK(memcmp(&before, &after, sizeof before) == 0);
  });
  std::thread idle([&] {
    sched_param parameter{};
    CHECK(sched_setscheduler(0, SCHED_IDLE, &parameter) == 0 && setpriority(PRIO_PROCESS, 0, -5) == 0);
    auto before = scheduling();
    while (!finish) usleep(1000);
    auto after = scheduling();
    CHECK(memcmp(&before, &after, sizeof before) == 0);
  });
  usleep(10'000);
  auto before = scheduling();
  ready();
  auto after = scheduling();
  CHECK(memcmp(&before, &after, sizeof before) == 0);
  finish = true;
  thread.join();
  idle.join();
  for (int i = 0; i < static_cast<int>(RLIM_NLIMITS); ++i) {
    rlimit limit;
    CHECK(getrlimit(static_cast<__rlimit_resource>(i), &limit) == 0);
    CHECK(limit.rlim_cur == limits[i].rlim_cur && limit.rlim_max == limits[i].rlim_max);
  }
  int value = 0;
  CHECK(prctl(PR_GET_CHILD_SUBREAPER, &value) == 0 && value == 1 && prctl(PR_GET_PDEATHSIG, &value) == 0 &&
        value == SIGUSR2);
  CHECK(prctl(PR_GET_DUMPABLE) == 0 && prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1);
  CHECK(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0) == PR_MCE_KILL_EARLY);
  CHECK(personality(0xffffffff) == (ADDR_NO_RANDOMIZE | SHORT_INODE));
  return 0;
}
