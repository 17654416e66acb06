// SPDX-License-Identifier: LGPL-2.1-or-later
// What a random program consists of: it follows from the seed alone, and is complete before the first process is
// cloned.
#pragma once

#include <stdint.h>

#include <string>
#include <vector>

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {  // splitmix64
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  unsigned below(unsigned limit) { return static_cast<unsigned>(next() % limit); }
  unsigned between(unsigned least, unsigned most) { return least + below(most - least + 1); }
  bool chance(unsigned percent) { return below(100) < percent; }

 private:
  uint64_t state_;
};

struct Actor;
struct ActorKind {
  const char* name;
  void (*act)(Actor&);
};

struct ProcessPlan {
  unsigned parent = 0;
  bool leaves = false;  // ends at once: a zombie, and its children are orphans
  bool session = false, group = false, filter = false;
  int nice = 0;
};

struct ActorPlan {
  const ActorKind* kind = nullptr;
  unsigned process = 0;
  int pair = -1;        // the thing that it shares with one other actor
  bool begins = false;  // of a pair: writes, sends, has the first turn; and ends it
  uint64_t seed = 0;
};

struct Plan {
  static constexpr unsigned kProcesses = 8, kPairs = 12;

  explicit Plan(uint64_t seed);
  std::string text() const;

  std::vector<ProcessPlan> processes;
  std::vector<ActorPlan> actors;
  unsigned pairs = 0;
};
