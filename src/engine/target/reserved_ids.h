// SPDX-License-Identifier: LGPL-2.1-or-later
// PIDs that nobody can choose with clone3(2), because the one who clones lives in a user namespace below that of the
// PID namespace. There remains /proc/sys/kernel/ns_last_pid: the next one who clones anything, anywhere, gets the
// number above. So each is kept by a zombie until its turn, and the turn is short. All others that are needed are
// kept too: who clones during a turn gets one of the numbers that follow.
#pragma once

#include <sys/types.h>

#include <set>
#include <string>

#include "base/result.h"

namespace ks::engine {

class ReservedIds {
 public:
  ReservedIds() = default;
  ReservedIds(const ReservedIds&) = delete;
  ~ReservedIds();

  // An error with EEXIST: it is taken.
  Result<> reserve(pid_t id);
  // For one who is about to choose it.
  void release(pid_t id);
  // From here on the next process or thread of the machine gets this number, until the turn has ended.
  Result<> begin_turn(pid_t id);
  Result<> end_turn() const;

 private:
  std::set<pid_t> zombies_;
  std::string last_;  // of all PIDs, before the turn
};

}  // namespace ks::engine
