// SPDX-License-Identifier: LGPL-2.1-or-later
// PIDs in PID namespaces below ours (pid_namespaces(7)). A PID of ours names everybody, and so do most calls of ours;
// what a process tells the kernel in a call of its own is the number in the process's namespace. Pure.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <vector>

#include "engine/target/user_spaces.h"

namespace ks::engine {

// A namespace below ours, by its first process, and the number in it.
struct PidLevel {
  pid_t first = 0, number = 0;
  bool operator==(const PidLevel&) const = default;
};
using PidLevels = std::vector<PidLevel>;  // the outermost first

// Of processes, threads, process groups and sessions.
class NestedPids {
 public:
  void add(pid_t pid, PidLevels levels);
  // The user namespace that a PID namespace belongs to, by number (`UserSpaces`).
  void set_owner(pid_t first, uint32_t user) { owners_[first] = user; }
  const std::map<pid_t, PidLevels>& all() const { return levels_; }

  const PidLevels& levels(pid_t pid) const;
  // The namespace that it lives in; 0: ours.
  pid_t home(pid_t pid) const;
  bool is_first(pid_t pid) const { return pid && home(pid) == pid; }
  // The number under which `viewer` knows `whom`; 0: not at all.
  pid_t seen_by(pid_t viewer, pid_t whom) const;

  uint32_t owner(pid_t first) const;

  // How `child` comes into its namespace when `by` clones it.
  enum class Way { inherited, founded, joined, none };
  Way way(pid_t child, pid_t by) const;

 private:
  std::map<pid_t, PidLevels> levels_;
  std::map<pid_t, uint32_t> owners_;
};

// The numbers of a new process or thread. Who is in a user namespace may choose those in PID namespaces that belong
// to it or to one below.
struct NewNumbers {
  pid_t pid = 0;              // ours
  PidLevels counted;          // the next number that is given out
  std::vector<pid_t> chosen;  // for clone3(2), the innermost first; ours too where all may be chosen
};
NewNumbers new_numbers(pid_t pid, const PidLevels& levels, const NestedPids& pids, const UserSpaces& users,
                       uint32_t user);

// For clone3(2), which takes the innermost number first and ours last.
std::vector<pid_t> pids_to_set(pid_t pid, const PidLevels& levels);

}  // namespace ks::engine
