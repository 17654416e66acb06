// SPDX-License-Identifier: LGPL-2.1-or-later
// What each thread has for itself: name, policy with all its attributes, nice value, CPUs, I/O priority, timer slack,
// capabilities, user, umask of signals.
#include <linux/capability.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <thread>
#include <vector>

#include "program.h"

struct Attributes {  // struct sched_attr, as of 5.3
  uint32_t size, policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime, deadline, period;
  uint32_t utilization_min, utilization_max;
};

struct View {
  char name[16];
  Attributes attributes;
  cpu_set_t cpus;
  int nice, io;
  unsigned long slack;
  uid_t uids[3];
  __user_cap_data_struct capabilities[2];
  sigset_t mask;
};

static View view() {
  View is;
  memset(&is, 0, sizeof is);
  CHECK(prctl(PR_GET_NAME, is.name) == 0);
  CHECK(syscall(SYS_sched_getattr, 0, &is.attributes, sizeof is.attributes, 0) == 0);
  // Of a policy without deadlines it is the kernel's own slice, shown since 6.12.
  if (is.attributes.policy != 6) is.attributes.runtime = 0;
  CHECK(sched_getaffinity(0, sizeof is.cpus, &is.cpus) == 0);
  is.nice = getpriority(PRIO_PROCESS, 0);
  is.io = static_cast<int>(syscall(SYS_ioprio_get, 1, 0));
  is.slack = static_cast<unsigned long>(prctl(PR_GET_TIMERSLACK));
  CHECK(getresuid(&is.uids[0], &is.uids[1], &is.uids[2]) == 0);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  CHECK(syscall(SYS_capget, &header, is.capabilities) == 0);
  CHECK(syscall(SYS_rt_sigprocmask, 0, nullptr, &is.mask, 8) == 0);
  return is;
}

static void compare(View before, View after) {
  Attributes &was = before.attributes, &is = after.attributes;
  // A kernel without clamps has told nothing of them.
  if (!was.utilization_max || !is.utilization_max)
    was.utilization_min = was.utilization_max = is.utilization_min = is.utilization_max = 0;
  CHECK(was.policy == is.policy && was.flags == is.flags && was.nice == is.nice && was.priority == is.priority);
  CHECK(was.runtime == is.runtime && was.deadline == is.deadline && was.period == is.period);
  CHECK(was.utilization_min == is.utilization_min && was.utilization_max == is.utilization_max);
  CHECK(memcmp(&before.cpus, &after.cpus, sizeof before.cpus) == 0);
  CHECK(before.nice == after.nice && before.io == after.io && before.slack == after.slack);
  CHECK(memcmp(before.name, after.name, sizeof before.name) == 0);
  CHECK(memcmp(before.uids, after.uids, sizeof before.uids) == 0);
  CHECK(memcmp(before.capabilities, after.capabilities, sizeof before.capabilities) == 0);
  CHECK(memcmp(&before.mask, &after.mask, sizeof before.mask) == 0);
}

// Where a machine does not allow one, the thread stays as it is.
static void set(Attributes attributes) {
  attributes.size = sizeof attributes;
  if (syscall(SYS_sched_setattr, 0, &attributes, 0)) CHECK(errno == EPERM || errno == EBUSY || errno == EOPNOTSUPP);
}

int main() {
  constexpr uint64_t kMs = 1'000'000, kResetOnFork = 1, kClamp = 0x60;
  static volatile bool finish = false;
  void (*const settings[])() = {
      [] { set({.policy = SCHED_BATCH, .flags = kResetOnFork, .nice = 3}); },
      [] { set({.policy = SCHED_FIFO, .priority = 2}); },
      [] { set({.policy = SCHED_RR, .flags = kResetOnFork, .priority = 7}); },
      [] { set({.policy = 6 /* SCHED_DEADLINE */, .runtime = kMs, .deadline = 20 * kMs, .period = 50 * kMs}); },
      [] {
        set({.policy = SCHED_OTHER, .flags = kClamp, .nice = -4, .utilization_min = 100, .utilization_max = 900});
      },
      [] { set({.policy = SCHED_IDLE}); },
      [] {
        cpu_set_t cpus;
        CHECK(sched_getaffinity(0, sizeof cpus, &cpus) == 0);
        for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&cpus) > 1; ++cpu) CPU_CLR(cpu, &cpus);
        CHECK(sched_setaffinity(0, sizeof cpus, &cpus) == 0);
      },
      [] {
        CHECK(syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 7) == 0 && prctl(PR_SET_TIMERSLACK, 4321) == 0);
        CHECK(setpriority(PRIO_PROCESS, 0, 11) == 0);
      },
      [] {
        CHECK(syscall(SYS_setresuid, 4242, 4243, 0) == 0);
        sigset_t blocked;
        sigemptyset(&blocked);
        sigaddset(&blocked, SIGUSR2);
        CHECK(pthread_sigmask(SIG_BLOCK, &blocked, nullptr) == 0);
      },
  };
  std::vector<std::thread> threads;
  for (auto* apply : settings)
    threads.emplace_back([=, number = threads.size()] {
      char name[16];
      snprintf(name, sizeof name, "number %zu\n", number);
      CHECK(prctl(PR_SET_NAME, name) == 0);
      apply();
      View before = view();
      while (!finish) usleep(1000);
      View after = view();
      compare(before, after);
    });
  usleep(50'000);
  View before = view();
  ready();
  View after = view();
  compare(before, after);
  finish = true;
  for (auto& thread : threads) thread.join();
  return 0;
}
