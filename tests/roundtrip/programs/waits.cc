// SPDX-License-Identifier: LGPL-2.1-or-later
// Calls that wait are waited in again: none returns early, none with an EINTR that nobody has caused.
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sys/select.h>

#include <functional>
#include <thread>
#include <vector>

#include "program.h"

static int pipes[2];
static uint32_t words[8];
static constexpr timespec kLong{1000, 0};

static long futex(uint32_t* word, int operation, uint32_t value, const timespec* timeout, uint32_t mask = 0) {
  return syscall(SYS_futex, word, operation, value, timeout, nullptr, mask);
}
static pollfd readable() { return {.fd = pipes[0], .events = POLLIN}; }
static fd_set readable_set() {
  fd_set set;
  FD_ZERO(&set);
  FD_SET(pipes[0], &set);
  return set;
}
static sigset_t only(int signal) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  return set;
}

int main() {
  sigset_t blocked;
  sigfillset(&blocked);
  CHECK(sigprocmask(SIG_BLOCK, &blocked, nullptr) == 0 && pipe(pipes) == 0);
  timespec absolute{};
  clock_gettime(CLOCK_MONOTONIC, &absolute);
  absolute.tv_sec += 1000;
  pid_t child = fork();
  if (child == 0) {
    wait_until_told();
    usleep(50'000);
    _exit(0);
  }
  std::vector<std::function<bool()>> waits = {
      [] {
        auto fd = readable();
        return poll(&fd, 1, -1) == 1;
      },
      [] {
        auto fd = readable();
        return poll(&fd, 1, 1000'000) == 1;
      },
      [] {
        auto fd = readable();
        return ppoll(&fd, 1, nullptr, nullptr) == 1;
      },
      [] {
        auto fd = readable();
        auto limit = kLong;
        return ppoll(&fd, 1, &limit, nullptr) == 1;
      },
      [] {
        auto set = readable_set();
        return select(pipes[0] + 1, &set, nullptr, nullptr, nullptr) == 1;
      },
      [] {
        auto set = readable_set();
        timeval limit{1000, 0};
        return select(pipes[0] + 1, &set, nullptr, nullptr, &limit) == 1;
      },
      [] {
        auto set = readable_set();
        return pselect(pipes[0] + 1, &set, nullptr, nullptr, &kLong, nullptr) == 1;
      },
      [] { return futex(&words[0], FUTEX_WAIT_PRIVATE, 0, nullptr) == 0; },
      [] { return futex(&words[1], FUTEX_WAIT_PRIVATE, 0, &kLong) == 0; },
      [&] { return futex(&words[2], FUTEX_WAIT_BITSET_PRIVATE, 0, &absolute, ~0u) == 0; },
      [] {
        auto set = only(SIGUSR1);
        return sigtimedwait(&set, nullptr, &kLong) == SIGUSR1;
      },
      [] {
        auto set = only(SIGUSR2);
        return sigwaitinfo(&set, nullptr) == SIGUSR2;
      },
      [&] {
        siginfo_t info;
        return waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT) == 0;
      },
  };
  std::vector<std::thread> threads;
  threads.reserve(waits.size());
  for (size_t i = 0; i < waits.size(); ++i)
    threads.emplace_back([&, i] {
      bool well = waits[i]();
      if (!well || !told()) dprintf(STDOUT_FILENO, "wait %zu returned wrongly: %s\n", i, strerrordesc_np(errno));
      CHECK(well && told());
    });
  usleep(20'000);
  ready();
  CHECK(write(pipes[1], "x", 1) == 1);
  // Not changed: who is not in his call again would be right to return.
  for (int i = 0; i < 3; ++i)
    while (futex(&words[i], FUTEX_WAKE_PRIVATE, 1, nullptr) != 1) usleep(1000);
  CHECK(kill(getpid(), SIGUSR1) == 0 && kill(getpid(), SIGUSR2) == 0);
  for (auto& thread : threads) thread.join();
  CHECK(waitpid(child, nullptr, 0) == child);
  return 0;
}
