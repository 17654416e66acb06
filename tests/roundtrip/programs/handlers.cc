// SPDX-License-Identifier: LGPL-2.1-or-later
// Signal handlers with their flags and masks, ignored signals, and the masks of threads.
#include <thread>

#include "program.h"

struct KernelAction {
  uint64_t handler;
  unsigned long flags;
  void* restorer;
  uint64_t mask;
};
static KernelAction get(int signal) {
  KernelAction action{};
  CHECK(syscall(SYS_rt_sigaction, signal, nullptr, &action, 8) == 0);
  return action;
}
static uint64_t mask_of_thread() {
  uint64_t mask = 0;
  CHECK(syscall(SYS_rt_sigprocmask, SIG_BLOCK, nullptr, &mask, 8) == 0);
  return mask;
}

static volatile int handled = 0;

int main() {
  unsigned flags[] = {SA_RESTART, SA_SIGINFO | SA_NODEFER, SA_RESETHAND, SA_ONSTACK | SA_RESTART,
                      SA_NOCLDSTOP | SA_NOCLDWAIT};
  int signals[] = {SIGUSR1, SIGUSR2, SIGTERM, SIGRTMIN + 3, SIGCHLD};
  for (int i = 0; i < 5; ++i) {
    struct sigaction action{};
    action.sa_flags = static_cast<int>(flags[i]);
    action.sa_handler = [](int signal) { handled = signal; };
    sigaddset(&action.sa_mask, SIGHUP + i);
    CHECK(sigaction(signals[i], &action, nullptr) == 0);
  }
  for (int ignored : {SIGPIPE, SIGHUP, SIGRTMAX, SIGTRAP}) signal(ignored, SIG_IGN);
  // The default action, but with flags and a mask that can be read back.
  KernelAction odd{0, SA_RESTART | SA_NODEFER, nullptr, 0x55};
  CHECK(syscall(SYS_rt_sigaction, SIGWINCH, &odd, nullptr, 8) == 0);
  KernelAction bare{reinterpret_cast<uint64_t>(SIG_IGN), SA_NOCLDSTOP, nullptr, 1};
  CHECK(syscall(SYS_rt_sigaction, SIGURG, &bare, nullptr, 8) == 0);
  volatile bool blocked = false, finish = false;
  std::thread blocking([&] {
    sigset_t some;
    sigemptyset(&some);
    for (int signal : {SIGINT, SIGRTMIN, SIGALRM, SIGTRAP}) sigaddset(&some, signal);
    CHECK(pthread_sigmask(SIG_BLOCK, &some, nullptr) == 0);
    uint64_t mask = mask_of_thread();
    blocked = true;
    while (!finish) usleep(1000);
    CHECK(mask_of_thread() == mask);
  });
  uint64_t mask = mask_of_thread();
  while (!blocked) usleep(1000);
  KernelAction before[65];  // with those that the C library installs for threads
  for (int i = 1; i <= 64; ++i) before[i] = get(i);
  ready();
  CHECK(mask_of_thread() == mask);
  for (int i = 1; i <= 64; ++i) {
    KernelAction after = get(i);
    CHECK(memcmp(&after, &before[i], sizeof after) == 0);
  }
  finish = true;
  blocking.join();
  for (int signal : signals) {
    CHECK(raise(signal) == 0 && handled == signal);
  }
  CHECK(get(SIGTERM).handler == 0);  // SA_RESETHAND
  return 0;
}
