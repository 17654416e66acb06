// SPDX-License-Identifier: LGPL-2.1-or-later
// User namespaces by number, as a tree: who is in one has no say outside of it and of those below. Pure.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>

namespace ks::engine {

// 0 is ours, which all others lie below.
class UserSpaces {
 public:
  void add(uint32_t id, uint32_t above) { above_[id] = above; }
  void put(pid_t pid, uint32_t id) { of_[pid] = id; }

  bool knows(pid_t pid) const { return of_.contains(pid); }
  uint32_t of(pid_t pid) const;
  // Whether `below` is `above`, or lies below it.
  bool covers(uint32_t above, uint32_t below) const;

 private:
  std::map<uint32_t, uint32_t> above_;
  std::map<pid_t, uint32_t> of_;
};

}  // namespace ks::engine
