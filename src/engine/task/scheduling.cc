// SPDX-License-Identifier: LGPL-2.1-or-later
// Policy, priority, nice value, CPU affinity, I/O priority and timer slack of each thread: all read and set from
// outside. What a thread has in common with the engine it has inherited already.
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "base/file.h"
#include "base/text.h"
#include "engine/scheduling.pb.h"
#include "engine/task/room.h"

namespace ks::engine {

namespace {

// struct sched_attr of sched_setattr(2), as of 5.3; libc's headers lack it and the kernel's collide with them.
struct Attributes {
  uint32_t size, policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime, deadline, period;
  uint32_t utilization_min, utilization_max;
};
static_assert(sizeof(Attributes) == 56);

constexpr uint32_t kFifo = 1, kRoundRobin = 2, kDeadline = 6;  // SCHED_*

constexpr int kIoPriorityOfProcess = 1;  // IOPRIO_WHO_PROCESS

// Since 6.12 the runtime of an ordinary thread is its slice. One that has not chosen it shows the kernel's, which
// another kernel has another of.
Result<Attributes> read_attributes(pid_t tid) {
  Attributes attributes{}, ours{};
  if (::syscall(SYS_sched_getattr, tid, &attributes, sizeof attributes, 0) ||
      ::syscall(SYS_sched_getattr, 0, &ours, sizeof ours, 0))
    return fail_errno("sched_getattr");
  bool ordinary = attributes.policy != kFifo && attributes.policy != kRoundRobin && attributes.policy != kDeadline;
  if (ordinary && attributes.runtime == ours.runtime) attributes.runtime = 0;
  return attributes;
}

Result<image::Scheduling::Thread> read_thread(pid_t tid) {
  image::Scheduling::Thread out;
  out.set_tid(tid);
  Attributes attributes = TRY(read_attributes(tid));
  out.set_attributes(&attributes, sizeof attributes);
  errno = 0;
  int nice = ::getpriority(PRIO_PROCESS, static_cast<id_t>(tid));
  if (nice == -1 && errno) return fail_errno("getpriority");
  out.set_nice(nice);
  unsigned char mask[1024];
  long bytes = ::syscall(SYS_sched_getaffinity, tid, sizeof mask, mask);
  if (bytes < 0) return fail_errno("sched_getaffinity");
  out.set_affinity(mask, static_cast<size_t>(bytes));
  long priority = ::syscall(SYS_ioprio_get, kIoPriorityOfProcess, tid);
  if (priority < 0) return fail_errno("ioprio_get");
  out.set_io_priority(static_cast<int>(priority));
  // Of a thread it is found under its own number, not below task/.
  auto slack = parse_number<uint64_t>(trim(TRY(read_file(proc_path(tid, "timerslack_ns")))));
  if (!slack) return fail("timer slack: not a number");
  out.set_timer_slack(*slack);
  return out;
}

Result<> dump(Dumping&, DumpedProcess& process, const TaskRoom& room) {
  image::Scheduling scheduling;
  for (const StoppedThread& thread : process.stopped.threads)
    *scheduling.add_threads() = TRY(in(fmt::format("thread {}", thread.tid()), read_thread(thread.tid())));
  process.put(room.name, room.version, scheduling);
  return {};
}

// Utilization clamps are told by all, but only set where the flags say so. A kernel without them tells 0 for both; a
// real-time thread has the highest minimum by itself (sched_util_clamp_min_rt_default).
uint64_t clamp_flags(const Attributes& wanted, const Attributes& had) {
  constexpr uint64_t kClampMin = 0x20, kClampMax = 0x40;  // SCHED_FLAG_UTIL_CLAMP_*
  constexpr uint32_t kMost = 1024;
  if (!wanted.utilization_max) return 0;
  bool real_time = wanted.policy == kFifo || wanted.policy == kRoundRobin;
  bool usual = wanted.utilization_min == had.utilization_min || (real_time && wanted.utilization_min == kMost);
  return (usual ? 0 : kClampMin) | (wanted.utilization_max == had.utilization_max ? 0 : kClampMax);
}

Result<> set_attributes(const image::Scheduling::Thread& to, const image::Scheduling::Thread& inherited) {
  if (to.attributes() == inherited.attributes()) return {};
  if (to.attributes().size() != sizeof(Attributes)) return fail("of another size");
  Attributes wanted{}, had{};
  std::memcpy(&wanted, to.attributes().data(), sizeof wanted);
  std::memcpy(&had, inherited.attributes().data(), sizeof had);
  uint64_t clamps = clamp_flags(wanted, had);
  auto set = [&](uint64_t more) {
    Attributes all = wanted;
    all.flags |= more;
    return ::syscall(SYS_sched_setattr, to.tid(), &all, 0) == 0;
  };
  // A kernel that has none leaves its frequencies to itself.
  if (set(clamps) || (clamps && errno == EOPNOTSUPP && set(0))) return {};
  return fail_errno("sched_setattr");
}

Result<> set_thread(const image::Scheduling::Thread& to, const image::Scheduling::Thread& inherited) {
  if (to.affinity() != inherited.affinity() &&
      ::syscall(SYS_sched_setaffinity, to.tid(), to.affinity().size(), to.affinity().data()))
    return fail_errno("sched_setaffinity");
  TRY(set_attributes(to, inherited));
  // Of an idle or a real-time thread sched_setattr(2) leaves it alone.
  if (to.nice() != inherited.nice() && ::setpriority(PRIO_PROCESS, static_cast<id_t>(to.tid()), to.nice()))
    return fail_errno("setpriority");
  if (to.io_priority() != inherited.io_priority() &&
      ::syscall(SYS_ioprio_set, kIoPriorityOfProcess, to.tid(), to.io_priority()))
    return fail_errno("ioprio_set");
  if (to.timer_slack() != inherited.timer_slack())
    TRY(write_value(proc_path(to.tid(), "timerslack_ns"), std::to_string(to.timer_slack())));
  return {};
}

Result<> restore(Restoring&, RestoredProcess& process, const TaskRoom& room) {
  auto scheduling = TRY(process.read<image::Scheduling>(room.name, room.version));
  // The leader is a plain fork of the engine, and its threads are clones of it, made before anything was set.
  auto inherited = TRY(read_thread(process.pid));
  for (const auto& thread : scheduling.threads())
    TRY(in(fmt::format("thread {}", thread.tid()), set_thread(thread, inherited)));
  return {};
}

}  // namespace

extern const TaskRoom kScheduling;
const TaskRoom kScheduling{.name = "scheduling", .version = 1, .dump = dump, .restore = restore};

}  // namespace ks::engine
