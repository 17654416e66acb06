// SPDX-License-Identifier: LGPL-2.1-or-later
// How processes come into their PID namespaces where those belong to user namespaces below ours. Who founds such a
// namespace has to be in its user namespace, and so is everybody whom he clones, from birth: those are *born inside*,
// and what they do must be allowed there. Pure.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <set>

#include "base/result.h"
#include "engine/target/nested_pids.h"
#include "engine/target/user_spaces.h"

namespace ks::engine {

// The user namespace in which a process is born, and whose users and groups it has then.
struct Inside {
  uint32_t user = 0;
  pid_t founder = 0;
};

struct Birth {
  NestedPids::Way way = NestedPids::Way::inherited;
  bool turns_home = false;  // before it, who clones it directs his children to his own PID namespace again
  bool by_envoy = false;    // somebody in passing enters the user namespace, to found the PID namespace
};

// The pids and spaces must outlive it.
class Births {
 public:
  Births(const NestedPids& pids, const UserSpaces& users) : pids_(pids), users_(users) {}

  // In the order of cloning; a negative PID is that of one who lives where his maker does. A refusal where it cannot
  // be.
  Result<Birth> next(pid_t who, pid_t by);
  Inside inside(pid_t who) const;

  // In the end, children of `who` are to come into the namespace of `first` (0: its own). Who is born inside can go
  // back to its own, but not to another one for a second time. True: he has to go.
  Result<bool> turn(pid_t who, pid_t first) const;

 private:
  pid_t direction(pid_t who) const;
  const NestedPids& pids_;
  const UserSpaces& users_;
  std::set<pid_t> born_;
  std::map<pid_t, Inside> inside_;
  std::map<pid_t, pid_t> direction_;  // of children, by the first process there
};

}  // namespace ks::engine
