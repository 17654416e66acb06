// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/helper.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <cstring>
#include <mutex>
#include <system_error>
#include <thread>

namespace ks {

void use_every_cpu() {
  cpu_set_t every;
  std::memset(&every, 0xff, sizeof every);
  ::sched_setaffinity(0, sizeof every, &every);
}

void become_helper() {
  use_every_cpu();
  sigset_t all;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
}

void work_from_both_ends(size_t count, const std::function<void(size_t)>& work) {
  constexpr size_t kWorthAThread = 256;
  if (count < kWorthAThread) {
    for (size_t i = 0; i < count; ++i) work(i);
    return;
  }
  std::mutex mutex;
  size_t first = 0, end = count;  // what nobody has begun
  auto take = [&](bool from_back, size_t& at) {
    std::lock_guard lock(mutex);
    if (first == end) return false;
    at = from_back ? --end : first++;
    return true;
  };
  auto run = [&](bool from_back) {
    for (size_t at = 0; take(from_back, at);) work(at);
  };
  std::thread helper;
  try {
    helper = std::thread([&] {
      become_helper();
      run(true);
    });
  } catch (const std::system_error&) {
    // There may be no more threads (TasksMax= of a unit).
  }
  run(false);
  if (helper.joinable()) helper.join();
}

}  // namespace ks
