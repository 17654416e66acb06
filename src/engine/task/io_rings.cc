// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/task/io_rings.h"

#include <fmt/format.h>
#include <sys/syscall.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

#include "engine/context/open_file.h"
#include "engine/kernel/io_uring.h"
#include "engine/target/foothold.h"

namespace ks::engine {

namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

// Until the next one is over, and all of them: a disk that is busy takes its time, what waits for a peer may wait for
// ever.
constexpr std::chrono::milliseconds kPatience = 500ms, kLongest = 5s, kBetween = 10ms;

bool has_rings(const StoppedProcess& process) {
  return std::ranges::any_of(process.descriptors,
                             [](const DescriptorLink& descriptor) { return descriptor.link == kRingLink; });
}

// What has been done for a request is often finished by the thread that has made it, on its way out of a call; and so
// are threads made that work for the kernel. On the way from one stop to the next nothing can be cloned, and
// since 6.10 the kernel ends a request for which it has tried that in vain a few times: so each makes a call.
Result<> let_finish(StoppedProcess& process) {
  auto foothold = Foothold::establish(process);
  if (!foothold && foothold.error().refusal) return {};
  Foothold calls = TRY(std::move(foothold));
  constexpr RemoteCall kHarmless{SYS_getpid};
  for (StoppedThread& thread : process.threads)
    if (calls.permits(thread, kHarmless)) TRY(TRY(calls.on(thread))->outcome(kHarmless));
  return calls.abandon();
}

// 0 also where nobody can look into them: then each is refused.
uint64_t count_in_flight(std::span<const int> fds) {
  auto rings = look_into_rings(fds);
  uint64_t count = 0;
  if (rings)
    for (const auto& [fd, ring] : *rings) count += ring.in_flight;
  return count;
}

}  // namespace

Result<> survey_rings(Dumping& dumping, std::span<StoppedProcess* const> callable) {
  std::vector<pid_t> pids;
  std::vector<Fd> rings;
  for (const auto& process : dumping.processes) {
    if (process.zombie) continue;
    pids.push_back(process.pid);
    for (const DescriptorLink& descriptor : process.descriptors)
      if (descriptor.link == kRingLink) rings.push_back(TRY(fetch_descriptor(process.pid, descriptor.number)));
  }
  for (pid_t pid : with_registered_rings(pids).value_or(std::set<pid_t>()))
    dumping.refuse(pid, "io_uring",
                   "a thread of it has registered a ring (IORING_REGISTER_RING_FDS), which is not supported yet");
  std::vector<int> fds;
  fds.reserve(rings.size());
  for (const Fd& ring : rings) fds.push_back(ring.get());
  const auto& next = dumping.options.next_kernel;
  if (fds.empty() || (next && !next->takes_rings())) return {};  // then they are refused whatever they do
  auto begun = Clock::now(), last = begun;
  for (uint64_t left = count_in_flight(fds); left && Clock::now() < std::min(last + kPatience, begun + kLongest);) {
    for (StoppedProcess* process : callable)
      if (has_rings(*process)) TRY(in(fmt::format("pid {}", process->pid), let_finish(*process)));
    uint64_t now = count_in_flight(fds);
    if (now < left) last = Clock::now();
    if (now) std::this_thread::sleep_for(kBetween);
    left = now;
  }
  return {};
}

}  // namespace ks::engine
