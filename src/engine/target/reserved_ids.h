// SPDX-License-Identifier: LGPL-2.1-or-later
// PIDs that nobody can choose with clone3(2), because the one who clones lives in a user namespace below that of the
// PID namespace. There remains /proc/sys/kernel/ns_last_pid: the next one who clones anything, anywhere, gets the
// number above. So each is kept by a zombie until its turn, and the turn is short. All others that are needed are
// kept too: who clones during a turn gets one of the numbers that follow. Engines take turns with each other.
#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace ks::engine {

// One engine of this machine has it at a time. While anybody does, nobody else keeps a number that he does not need
// himself.
class Turn {
 public:
  // An error with ETIMEDOUT: somebody does not end his.
  static Result<Turn> await();
  Turn(Turn&& other) noexcept = default;
  Turn& operator=(Turn&&) = delete;
  ~Turn();

  // The next process or thread of the machine gets this number.
  Result<> begin(pid_t id);
  // And those after it what they would have got. The turn is over with the object.
  Result<> end();

 private:
  explicit Turn(Fd file) : file_(std::move(file)) {}
  Fd file_;
  std::string last_;  // of all PIDs, before
};

// Calls what clones with this number chosen (clone3(2), set_tid); where the number is taken, once more while nobody
// else has his turn, for whose time it may be kept. Then an error with EEXIST: it is taken.
Result<> clone_as(pid_t id, const std::function<Result<uint64_t>()>& clone);

class ReservedIds {
 public:
  ReservedIds() = default;
  ReservedIds(const ReservedIds&) = delete;
  ~ReservedIds();

  // Nobody is to get one of them by our turns: whoever needs them has not come yet.
  void spare(std::span<const pid_t> ids) { spared_.insert(ids.begin(), ids.end()); }
  // An error with EEXIST: it is taken.
  Result<> reserve(pid_t id);
  // For one who is about to choose it.
  void release(pid_t id);
  // From here on the next process or thread of the machine gets this number, until the turn has ended.
  Result<> begin_turn(pid_t id);
  Result<> end_turn();

 private:
  std::set<pid_t> zombies_, spared_;
  std::set<pid_t> guards_;  // zombies for the time of a turn
  std::optional<Turn> turn_;
};

}  // namespace ks::engine
