// SPDX-License-Identifier: LGPL-2.1-or-later
// Reads its own program through a ring of io_uring(7), a hundred times a second, and compares. Each second it prints
// a line of KEY=VALUE; what it finds wrong ends it.
#include "ring.h"

namespace {

double seconds(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

}  // namespace

int main() {
  constexpr int kEachLine = 100, kBytes = 64, kPause = 1'000'000 / kEachLine;
  int file = open("/proc/self/exe", O_RDONLY);
  char expected[kBytes], buffer[kBytes];
  CHECK(file >= 0 && pread(file, expected, kBytes, 0) == kBytes);
  Ring ring(8);
  uint64_t requests = 0;
  for (uint64_t line = 1;; ++line) {
    for (int i = 0; i < kEachLine; ++i) {
      memset(buffer, 0, sizeof buffer);
      ring.prepare_read(file, buffer, kBytes, 0, ++requests);
      ring.submit(1);
      ring.take(requests, kBytes);
      CHECK(memcmp(buffer, expected, sizeof buffer) == 0);
      usleep(kPause);
    }
    dprintf(STDOUT_FILENO, "reader line=%lu at=%.3f up=%.3f requests=%lu\n", line, seconds(CLOCK_REALTIME),
            seconds(CLOCK_MONOTONIC), requests);
  }
}
