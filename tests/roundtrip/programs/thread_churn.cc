// SPDX-License-Identifier: LGPL-2.1-or-later
// Threads that start and end all the time, so that a freeze meets some on their way in and out.
#include <atomic>
#include <thread>

#include "program.h"

int main() {
  std::atomic<long> started = 0, ended = 0;
  std::thread makers[3];
  for (auto& maker : makers)
    maker = std::thread([&] {
      while (!told()) {
        std::thread brief([&] { ++started; });
        brief.join();
        ++ended;
      }
    });
  ready();
  for (auto& maker : makers) maker.join();
  CHECK(started == ended && ended > 0);
  return 0;
}
