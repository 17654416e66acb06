// SPDX-License-Identifier: LGPL-2.1-or-later
// Robust locks: the list is registered as before, and a lock whose owner dies after the restore is handed on.
#include <pthread.h>

#include <thread>

#include "program.h"

struct Shared {
  pthread_mutex_t mutex;
  int held;
};

int main() {
  auto* shared = reinterpret_cast<Shared*>(map_memory(kPage, MAP_SHARED));
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  CHECK(pthread_mutex_init(&shared->mutex, &attributes) == 0);
  pid_t child = fork();
  if (child == 0) {
    CHECK(pthread_mutex_lock(&shared->mutex) == 0);
    __atomic_store_n(&shared->held, 1, __ATOMIC_SEQ_CST);
    wait_until_told();
    usleep(20'000);
    _exit(0);  // without unlocking
  }
  while (!__atomic_load_n(&shared->held, __ATOMIC_SEQ_CST)) usleep(1000);
  void *head, *after;
  size_t length;
  CHECK(syscall(SYS_get_robust_list, 0, &head, &length) == 0 && head);
  std::thread waiter([&] {
    CHECK(pthread_mutex_lock(&shared->mutex) == EOWNERDEAD);  // waits across the dump
    CHECK(told() && pthread_mutex_consistent(&shared->mutex) == 0 && pthread_mutex_unlock(&shared->mutex) == 0);
  });
  usleep(10'000);
  ready();
  CHECK(syscall(SYS_get_robust_list, 0, &after, &length) == 0 && after == head);
  waiter.join();
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  return 0;
}
