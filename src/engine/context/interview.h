// SPDX-License-Identifier: LGPL-2.1-or-later
// What only a thread itself can tell of itself, all of it asked in one visit: to enter and to leave a thread costs as
// much as several system calls.
#pragma once

#include <signal.h>

#include <cstdint>
#include <optional>
#include <set>
#include <vector>

#include "base/result.h"
#include "engine/kernel/features.h"
#include "engine/target/foothold.h"

namespace ks::engine {

struct ThreadAnswers {
  stack_t alternate_stack{};                               // flags without SS_ONSTACK: it is on our frame
  uint64_t clear_child_tid = 0;                            // set_tid_address(2)
  int parent_death_signal = 0;                             // PR_SET_PDEATHSIG
  uint32_t securebits = 0;                                 // PR_SET_SECUREBITS
  int memory_policy = 0;                                   // MPOL_*, of set_mempolicy(2)
  bool tells_keyrings = true;                              // false: a seccomp filter ends it if it is asked
  std::optional<int32_t> thread_keyring, session_keyring;  // serial numbers
};

struct ProcessAnswers {
  std::vector<ThreadAnswers> threads;  // in the order of the process's
  uint64_t program_break = 0;          // brk(2)
  int dumpable = 0;                    // PR_SET_DUMPABLE
  bool merges = false;                 // PR_SET_MEMORY_MERGE
  std::optional<int32_t> keyring;
  // Protection keys of memory that it has allocated; nothing: a seccomp filter ends it if it is asked.
  std::optional<std::set<uint32_t>> protection_keys;
};

Result<ProcessAnswers> interview(const Kernel& kernel, Foothold& foothold, StoppedProcess& process);

}  // namespace ks::engine
