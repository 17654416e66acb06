// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/task/thaw.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>

#include <algorithm>

#include "engine/job_control.pb.h"
#include "engine/target/remaining.h"
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

constexpr int64_t kMillisecond = 1'000'000;

Result<int64_t> time_left(const Restoring& restoring, const RestoredSleep& sleep) {
  int64_t left = sleep.due ? sleep.due - TRY(read_clock(sleep.due_clock, restoring.clock_offsets)) : sleep.left;
  return std::max<int64_t>(left, 1);
}

// The interrupted call with what is left for its time-out. `time` is where that lies.
Result<RemoteCall> shortened(const RestoredThread& thread, int64_t left, RemoteAddress time) {
  auto argument = [&](int index) { return syscall_argument(thread.registers, index); };
  switch (syscall_number(thread.registers)) {
    case SYS_poll: {
      return RemoteCall{SYS_poll,
                        {argument(0), argument(1), static_cast<uint64_t>((left + kMillisecond - 1) / kMillisecond)}};
    }
    case SYS_futex:
      return RemoteCall{SYS_futex, {argument(0), argument(1), argument(2), time.value}};
    case SYS_nanosleep:
    case SYS_clock_nanosleep:
      return RemoteCall{SYS_clock_nanosleep,
                        {static_cast<uint64_t>(thread.sleep->clock), 0, time.value, thread.sleep->remainder}};
  }
  return fail("waits in a call that has no time left to it");
}

// Begins the wait and stops it at once, so that the kernel has a restart block with what is left of it. It may be
// over by then.
Result<> resume_sleep(const Restoring& restoring, RestoredProcess& process, RestoredThread& thread) {
  int64_t left = TRY(time_left(restoring, *thread.sleep));
  TRY(process.memory->write_value(process.scratch, to_timespec(left)));
  RemoteCall call = TRY(shortened(thread, left, process.scratch));
  TRY(thread.hold.set_registers(
      at_syscall(thread.calls.base(), thread.calls.instruction(), call.number, call.arguments)));
  TRY(thread.hold.resume_to_syscall());
  auto stop = TRY(thread.hold.wait());
  while (stop == SeizedThread::Stop::group) {  // of a stopped process, once
    TRY(thread.hold.resume_to_syscall());
    stop = TRY(thread.hold.wait());
  }
  if (stop != SeizedThread::Stop::syscall) return fail("did not enter its sleep");
  TRY(reach_event_stop(thread.hold));
  long result = syscall_result(TRY(thread.hold.registers()));
  if (result == -kRestartBlock) return {};
  // A kernel that has no such clock: the program is to be told by its own call.
  bool again = call.number == SYS_clock_nanosleep && result != 0;
  thread.registers = again ? rewound(thread.registers) : returned(thread.registers, result);
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

Result<> resume_waits(Restoring& restoring, RestoredProcess& process) {
  for (auto& thread : process.threads) {
    if (!thread.sleep || !is_event_wait(syscall_number(thread.registers))) continue;
    int64_t left = TRY(time_left(restoring, *thread.sleep));
    set_event_time_out(thread.registers, static_cast<int>((left + kMillisecond - 1) / kMillisecond));
    thread.sleep.reset();  // it has no restart block
  }
  for (auto& thread : process.threads)
    if (thread.sleep) TRY(in(fmt::format("thread {}", thread.tid()), resume_sleep(restoring, process, thread)));
  return {};
}

Result<> prepare_thaw(Restoring& restoring, RestoredProcess& process) {
  if (restoring.proc && !process.shares_descriptors)
    TRY(in("close", process.leader()(SYS_close, restoring.proc.get())));
  bool unmaps = !process.shares_memory();
  if (unmaps) TRY(in("munmap", process.leader()(SYS_munmap, restoring.parking.base, Parking::kScratchSize)));
  for (auto& thread : process.threads) {
    bool at_a_call = unmaps && thread.tid() == process.pid;
    if (at_a_call || !thread.sleep) TRY(in(fmt::format("thread {}", thread.tid()), reach_event_stop(thread.hold)));
    TRY(thread.hold.set_signal_mask(thread.mask));
    TRY(thread.hold.set_registers(final_registers(thread)));
  }
  return {};
}

Result<> thaw(RestoredProcess& process) {
  // Before, it would have come between all that has been called in it.
  auto control = TRY(process.read<image::JobControl>("job-control", 1));
  if (control.stopped_again() && ::kill(process.pid, SIGSTOP)) return fail_errno("kill");
  // The leader first: a signal that the process ignores is for it, and as long as it is traced wakes others
  // (Seizure). Those that are left to the end are still in our hands after a failure, and with them the process.
  for (; !process.threads.empty(); process.threads.pop_front()) {
    SeizedThread& thread = process.threads.front().hold;
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
