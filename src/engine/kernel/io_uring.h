// SPDX-License-Identifier: LGPL-2.1-or-later
// What the kernel knows of a ring of io_uring(7) and tells nobody: it is read where it lies.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace ks::engine {

// Where /proc/PID/fd/N leads.
inline constexpr std::string_view kRingLink = "anon_inode:[io_uring]";

struct RingInsides {
  uint64_t file = 0;                          // where its open file lies
  uint32_t setup = 0;                         // IORING_SETUP_*
  uint32_t submissions = 0, completions = 0;  // for how many of each it has room
  uint32_t taken = 0, given = 0;              // submissions and completions so far, modulo 2^32
  uint64_t submitter = 0;                     // the only task that may use it, 0: anybody
  std::optional<uint32_t> charged;            // the user to whom memory is charged that is registered with it
  uint64_t in_flight = 0;
  // That is told of completions (IORING_REGISTER_EVENTFD); 0: none.
  uint64_t eventfd = 0;
  bool eventfd_async = false;  // only of those that did not come at once
  bool overflown = false;      // there are completions that found no room
  std::string more;            // what it has beyond that: "registered files"
};

// Of rings that we have open, duplicates of another's too, by number. With all stopped that may use a ring, a
// request that is not in flight has left all that it ever will. Fails where the kernel has no BTF or bpf(2), lets
// nobody read in it (kernel_lockdown(7)), or keeps something in another way than is known.
Result<std::map<int, RingInsides>> look_into_rings(std::span<const int> fds);

// Which eventfd is behind each open file of ours.
Result<std::map<int, uint64_t>> eventfds_behind(std::span<const int> fds);

// Of the areas of a process: the address of each that has a file, and where that lies.
Result<std::map<uint64_t, uint64_t>> files_of_areas(pid_t pid);

// What takes longest of all this, and needs to be done once: better before a service stands still.
void prepare_to_look_into_rings();

// Where the task of a thread lies.
Result<uint64_t> task_of(pid_t tid);

// Of these processes, those with a thread that has registered a ring for itself (IORING_REGISTER_RING_FDS): it may be
// open nowhere else.
Result<std::set<pid_t>> with_registered_rings(std::span<const pid_t> pids);

}  // namespace ks::engine
