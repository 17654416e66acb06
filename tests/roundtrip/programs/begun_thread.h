// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <latch>
#include <memory>
#include <thread>

// A thread that runs its own code by now. The C library blocks all signals while it begins, and who compares what a
// thread is must not see that.
template <class Body>
std::thread begin_thread(Body body) {
  auto begun = std::make_shared<std::latch>(1);
  std::thread thread([begun, body] {
    begun->count_down();
    body();
  });
  begun->wait();
  return thread;
}
