// SPDX-License-Identifier: LGPL-2.1-or-later
// Takes processes into our hands, step by step: what is not stopped yet may start others.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/backoff.h"
#include "base/result.h"
#include "engine/target/process.h"

namespace ks::engine {

class Seizure {
 public:
  // `stop_limit`: how long a thread may take to stop.
  Seizure(std::vector<StoppedProcess>& processes, std::chrono::milliseconds stop_limit)
      : processes_(processes), stop_limit_(stop_limit) {}

  // Seizes what is not seized yet; true if there was anything. EAGAIN: one of them does not stop.
  Result<bool> seize_more(const std::vector<pid_t>& pids);
  // Brings every thread to where its state can be carried. True if one has run for that, or died: it may have started
  // others.
  Result<bool> settle_all();

  // Lets all of them go. A thread that has been told to stop and has not can be let go only once it has, for which it
  // may need the others.
  static void release(std::vector<StoppedProcess>& processes);

 private:
  Result<> settle_threads(StoppedProcess& process, bool& ran);
  Result<> await_stops();
  void forget_dead_threads();

  std::vector<StoppedProcess>& processes_;
  std::chrono::milliseconds stop_limit_;
  std::unordered_map<pid_t, size_t> processes_by_pid_;
  std::unordered_set<pid_t> tids_;
  std::vector<std::pair<size_t, size_t>> on_their_way_;  // to a stop: process and thread by number
};

}  // namespace ks::engine
