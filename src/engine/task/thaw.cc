// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/task/thaw.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>

#include <algorithm>

#include "engine/job_control.pb.h"
#include "engine/threads.pb.h"

namespace ks::engine {

namespace {

// From a system call stop to one inside signal delivery: only on the way out of that does the kernel restart an
// interrupted call, or end it with EINTR if a handler runs first.
Result<> reach_event_stop(SeizedThread& thread) {
  TRY(thread.interrupt());
  TRY(thread.resume());
  auto stop = TRY(thread.wait());
  if (stop != SeizedThread::Stop::event && stop != SeizedThread::Stop::group) return fail("did not stop", EAGAIN);
  return {};
}

// Begins the sleep and stops it at once, so that the kernel has a restart block with what is left of it. It may be
// over by then.
Result<> resume_sleep(const Restoring& restoring, RestoredProcess& process, RestoredThread& thread) {
  const RestoredSleep& sleep = *thread.sleep;
  int64_t left = sleep.due ? sleep.due - TRY(read_clock(sleep.due_clock, restoring.clock_offsets)) : sleep.left;
  TRY(process.memory->write_value(process.scratch, to_timespec(std::max<int64_t>(left, 1))));
  SyscallArguments arguments{static_cast<uint64_t>(sleep.clock), 0, process.scratch.value, sleep.remainder};
  TRY(thread.hold.set_registers(
      at_syscall(thread.calls.base(), thread.calls.instruction(), SYS_clock_nanosleep, arguments)));
  TRY(thread.hold.resume_to_syscall());
  auto stop = TRY(thread.hold.wait());
  while (stop == SeizedThread::Stop::group) {  // of a stopped process, once
    TRY(thread.hold.resume_to_syscall());
    stop = TRY(thread.hold.wait());
  }
  if (stop != SeizedThread::Stop::syscall) return fail("did not enter its sleep");
  TRY(reach_event_stop(thread.hold));
  long result = syscall_result(TRY(thread.hold.registers()));
  if (result == 0)
    thread.registers = returned(thread.registers, 0);
  else if (result != -kRestartBlock)
    thread.registers = rewound(thread.registers);  // this kernel has no such clock: the program is to be told
  return {};
}

// A restart block that nobody has filled would end the call with EINTR: it is made again instead.
Registers final_registers(const RestoredThread& thread) {
  bool restarts = in_syscall(thread.registers) && syscall_result(thread.registers) == -kRestartBlock;
  return restarts && !thread.sleep ? rewound(thread.registers) : thread.registers;
}

}  // namespace

Result<std::vector<pid_t>> thread_ids(const std::map<std::string, Envelope>& rooms) {
  auto found = rooms.find("threads");
  if (found == rooms.end()) return fail("the image has no threads");
  image::Threads threads;
  TRY(parse_body(found->second, threads));
  std::vector<pid_t> tids;
  for (const auto& thread : threads.threads()) tids.push_back(thread.tid());
  return tids;
}

Result<> prepare_thaw(Restoring& restoring, RestoredProcess& process) {
  for (auto& thread : process.threads)
    if (thread.sleep) TRY(in(fmt::format("thread {}", thread.tid()), resume_sleep(restoring, process, thread)));
  TRY(in("munmap", process.leader()(SYS_munmap, restoring.parking.base, Parking::kScratchSize)));
  for (auto& thread : process.threads) {
    bool leader = thread.tid() == process.pid;
    if (leader || !thread.sleep) TRY(in(fmt::format("thread {}", thread.tid()), reach_event_stop(thread.hold)));
    TRY(thread.hold.set_signal_mask(thread.mask));
    TRY(thread.hold.set_registers(final_registers(thread)));
  }
  return {};
}

Result<> thaw(RestoredProcess& process) {
  // Before, it would have come between all that has been called in it.
  auto control = TRY(process.read<image::JobControl>("job-control", 1));
  if (control.stopped_again() && ::kill(process.pid, SIGSTOP)) return fail_errno("kill");
  // From the last to the first, so that a failure leaves the leader, and with it the process, in our hands.
  for (; !process.threads.empty(); process.threads.pop_back()) {
    SeizedThread& thread = process.threads.back().hold;
    auto detached = thread.detach();
    // One of those that run already may have ended the process: that is its own affair.
    if (!detached && detached.error().code == ESRCH) {
      while (thread.tid() && TRY(thread.wait()) != SeizedThread::Stop::gone) continue;
      continue;
    }
    TRY(std::move(detached));
  }
  return {};
}

}  // namespace ks::engine
