// SPDX-License-Identifier: LGPL-2.1-or-later
// A thread under a storm of queued signals, interrupting its calls all the time: each is handled exactly once, and
// the calls that are restarted lose nothing.
#include <pthread.h>
#include <semaphore.h>

#include <thread>

#include "program.h"

static volatile long handled = 0, sum = 0;
static volatile bool finish = false;

int main() {
  struct sigaction action{};
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  action.sa_sigaction = [](int, siginfo_t* info, void*) {
    handled = handled + 1;
    sum = sum + info->si_value.sival_int;
  };
  CHECK(sigaction(SIGRTMIN, &action, nullptr) == 0);
  int pipes[2];
  CHECK(pipe(pipes) == 0);
  std::thread target([&] {
    uint64_t expected = 0, got;
    while (read(pipes[0], &got, 8) == 8) CHECK(got == expected++);
    CHECK(errno != EINTR);
  });
  long sent = 0, sent_sum = 0;
  uint64_t next = 0;
  auto storm = [&] {
    union sigval value{.sival_int = static_cast<int>(sent % 1000)};
    if (pthread_sigqueue(target.native_handle(), SIGRTMIN, value) == 0) {
      ++sent;
      sent_sum += value.sival_int;
    } else {
      usleep(100);  // the queue is full
    }
    if (sent % 8 == 0) {
      CHECK(write(pipes[1], &next, 8) == 8);
      ++next;
    }
  };
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGRTMIN);
  CHECK(pthread_sigmask(SIG_BLOCK, &blocked, nullptr) == 0);
  say_ready();
  while (!told()) storm();
  while (handled < sent) usleep(1000);
  CHECK(handled == sent && sum == sent_sum && sent > 0);
  close(pipes[1]);
  target.join();
  return 0;
}
