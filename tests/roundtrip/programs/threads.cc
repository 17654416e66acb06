// SPDX-License-Identifier: LGPL-2.1-or-later
// Threads: the same TIDs, names and thread-local values; locks and joins that span the dump.
#include <pthread.h>
#include <sys/prctl.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "program.h"

static thread_local int local = 0;
static std::mutex mutex;
static std::condition_variable changed;
static int turn = 0, started = 0;

static void work(int number) {
  char name[16], found[16];
  snprintf(name, sizeof name, "thread %d )", number);
  CHECK(pthread_setname_np(pthread_self(), name) == 0);
  local = 100 + number;
  long tid = syscall(SYS_gettid);
  pthread_t self = pthread_self();
  std::unique_lock lock(mutex);
  ++started;
  changed.notify_all();
  changed.wait(lock, [&] { return turn == number; });
  CHECK(prctl(PR_GET_NAME, found) == 0 && strcmp(name, found) == 0);
  CHECK(syscall(SYS_gettid) == tid && pthread_self() == self && local == 100 + number);
  turn = number + 1;
  changed.notify_all();
}

int main() {
  constexpr int kThreads = 6;
  std::thread threads[kThreads];
  for (int i = 0; i < kThreads; ++i) threads[i] = std::thread(work, i + 1);
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [] { return started == kThreads; });
  }
  ready();
  {
    std::unique_lock lock(mutex);
    turn = 1;
    changed.notify_all();
    changed.wait(lock, [] { return turn == kThreads + 1; });
  }
  for (auto& thread : threads) thread.join();
  std::thread([] { CHECK(local == 0); }).join();
  return 0;
}
