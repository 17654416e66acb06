// SPDX-License-Identifier: LGPL-2.1-or-later
// A process of which every thread is stopped, and what was read of it from outside.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/kernel/proc.h"
#include "engine/target/remote.h"
#include "engine/target/thread.h"

namespace ks::engine {

// epoll_wait(2) and epoll_pwait(2).
struct EventWait {
  long number = 0;
  int time_out = 0;       // milliseconds
  int64_t began = 0;      // by our CLOCK_MONOTONIC
  uint64_t switches = 0;  // of the thread, to another by its own will, until then
};

struct StoppedThread {
  SeizedThread hold;
  std::optional<EventWait> event_wait = {};  // it was in when it was seized
  int stop_signal = 0;                       // of a stop by job control
  bool settled = false;                      // it has been brought to where its state can be carried, or
  std::string unsettled;                     // why it cannot be
  Registers registers{};                     // to go on with, as they must be set at a stop of the kernel's choosing
  uint64_t mask = 0;
  int64_t stopped_at = 0;  // by our CLOCK_MONOTONIC
  std::vector<std::byte> xstate;
  RseqConfiguration rseq;
  bool wait_measured = false;
  std::optional<int64_t> wait_left;  // of a relative time-out in an interrupted call when it was stopped, nanoseconds
  std::vector<SeccompFilter> filters;  // of seccomp(2)

  pid_t tid() const { return hold.tid(); }
};

// Of a descriptor, when it was stopped.
struct DescriptorLink {
  int number = -1;
  std::string link;  // where /proc/PID/fd/N leads; empty: it could not be read
};

struct StoppedProcess {
  pid_t pid = 0;
  bool zombie = false;                 // the leader has ended; with threads left, it alone
  std::vector<StoppedThread> threads;  // the leader first
  StatLine stat;
  Status status;
  std::vector<Vma> areas;
  std::vector<DescriptorLink> descriptors;  // by number
  std::optional<RemoteMemory> memory;

  // Stopped, SIGSTOP has come to it once more.
  bool has_another_stop() const;
  StoppedThread& leader() { return threads.front(); }
  std::string proc(std::string_view name) const;  // "/proc/PID/name"
  std::string map_file(const Vma& area) const;    // a magic link to what it maps
  const Vma* area_named(std::string_view path) const;
};

Result<std::vector<DescriptorLink>> list_descriptors(pid_t pid);

std::string proc_path(pid_t pid, std::string_view name);

// Seconds since 1970, each by whole ones.
Result<int64_t> boot_time();
int64_t start_of(const StatLine& process, int64_t boot_time);

}  // namespace ks::engine
