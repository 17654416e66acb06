// SPDX-License-Identifier: LGPL-2.1-or-later
// eventfd(2): counters, semaphores, one shared with a child, one that a thread waits for, one that is full.
#include <sys/eventfd.h>

#include <thread>

#include "program.h"

static uint64_t take(int fd) {
  uint64_t count = 0;
  CHECK(read(fd, &count, 8) == 8);
  return count;
}
static void give(int fd, uint64_t count) { CHECK(write(fd, &count, 8) == 8); }

int main() {
  int counter = eventfd(12345, EFD_CLOEXEC), zero = eventfd(0, EFD_NONBLOCK), semaphore = eventfd(3, EFD_SEMAPHORE);
  int one = eventfd(1, EFD_SEMAPHORE | EFD_NONBLOCK), waited = eventfd(0, 0), full = eventfd(0, 0),
      shared = eventfd(0, 0);
  give(full, ~uint64_t{1});
  volatile uint64_t got = 0;
  volatile bool gave = false;
  std::thread reader([&] { got = take(waited); }), writer([&] {
    give(full, 5);
    gave = true;
  });
  pid_t child = fork();
  if (child == 0) {
    CHECK(take(shared) == 99);
    give(counter, 1);
    _exit(0);
  }
  usleep(10'000);
  ready();
  CHECK(take(counter) == 12345 && fcntl(counter, F_GETFD) == FD_CLOEXEC);
  uint64_t none;
  CHECK(read(zero, &none, 8) == -1 && errno == EAGAIN);
  for (int i = 0; i < 3; ++i) CHECK(take(semaphore) == 1);
  CHECK(take(one) == 1 && read(one, &none, 8) == -1 && errno == EAGAIN);
  CHECK(got == 0 && !gave);
  give(waited, 8);
  CHECK(take(full) == ~uint64_t{1});
  reader.join();
  writer.join();
  CHECK(got == 8 && take(full) == 5);
  give(shared, 99);
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0 && take(counter) == 1);
  return 0;
}
