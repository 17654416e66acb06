// SPDX-License-Identifier: LGPL-2.1-or-later
// A thread of a random program. It does its part over and over, compares all the time, and ends the program with
// status 1 at the first thing that is wrong.
#pragma once

#include <pthread.h>
#include <semaphore.h>

#include <atomic>

#include "../programs/program.h"
#include "plan.h"

// An engine that is killed between a thread's stop and its next act leaves what SIGSTOP and SIGCONT leave: EINTR from
// the calls that signal(7) names. The driver tells, through the mode of our output, when that is to be expected.
inline bool is_interrupted(long result) {
  struct stat facts;
  return result == -1 && errno == EINTR && fstat(STDOUT_FILENO, &facts) == 0 && facts.st_mode & S_IXGRP;
}
// Makes the call again where it was interrupted so.
template <class Call>
long uninterrupted(Call call) {
  long result = call();
  while (is_interrupted(result)) result = call();
  return result;
}

// What two actors share, made before they are.
struct Pair {
  int fds[2] = {-1, -1};
  struct Board {
    std::atomic<uint64_t> sent, taken, last;
    std::atomic<uint32_t> turn;
    pthread_mutex_t mutex;
    uint64_t left, right;
    char page[kPage];
  }* board = nullptr;
};

struct Actor {
  const ActorPlan& plan;
  unsigned index;
  const std::atomic<pid_t>* pids;  // of the processes of the plan
  const ActorPlan* partner;
  Pair* pair;
  std::atomic<uint64_t>* heart;
  Random random;

  // To be called each time that all was found right.
  void beat() { ++*heart; }
  bool goes_on() {
    beat();
    return !told();
  }
  void pause(unsigned most_us = 1000) { usleep(random.between(50, most_us)); }
};

// Those that act alone, and those that need another one.
extern const ActorKind kSoloists[], kDuets[];
extern const unsigned kSoloistCount, kDuetCount;
// What the two of a pair need, made before all processes.
Pair make_pair_for(const ActorPlan& plan, unsigned number);
