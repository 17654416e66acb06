// SPDX-License-Identifier: LGPL-2.1-or-later
// Timers of timer_create(2). A signal that one has queued is not queued again by us: the timer is made to expire
// anew, so that the kernel knows its own signal and goes on when it is delivered.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <optional>

#include "base/file.h"
#include "engine/kernel/timer_list.h"
#include "engine/target/posix_timers.h"
#include "engine/task/room.h"
#include "engine/timers.pb.h"

namespace ks::engine {

namespace {

constexpr int kRestoreIds = 77;  // PR_TIMER_CREATE_RESTORE_IDS, since 6.15
constexpr int kMostLooks = 10;
constexpr char kDoubt[] = "cannot be told to be absolute or relative; CLOCK_MONOTONIC would leave no doubt";
constexpr int kHighestId = 1'000'000;  // without it every lower one has to be made first

// struct sigevent of the kernel
struct Event {
  uint64_t value;
  int32_t signal, notify;
  int32_t thread, padding[11];
};
static_assert(sizeof(Event) == 64);

bool is_cpu_clock(int clock) {
  return clock < 0 || clock == CLOCK_PROCESS_CPUTIME_ID || clock == CLOCK_THREAD_CPUTIME_ID;
}

// The process or thread of a clock that was made for one (clock_getcpuclockid(3)); the kernel packs it so.
pid_t cpu_clock_owner(int clock) { return ~(clock >> 3); }

struct Reading {
  int64_t left = 0, interval = 0;
  int64_t before = 0, after = 0;  // by our monotonic clock
};

Result<Reading> read_timer(DumpedProcess& process, int id) {
  RemoteCalls& calls = *TRY(process.leader());
  Reading reading;
  reading.before = TRY(read_clock(CLOCK_MONOTONIC, {}));
  TRY(in("timer_gettime", calls(SYS_timer_gettime, id, process.foothold.scratch())));
  reading.after = TRY(read_clock(CLOCK_MONOTONIC, {}));
  auto setting = TRY(process.stopped.memory->read<itimerspec>(process.foothold.scratch()));
  reading.left = from_timespec(setting.it_value);
  reading.interval = from_timespec(setting.it_interval);
  return reading;
}

Result<bool> is_queued(StoppedProcess& process, const PosixTimer& timer) {
  bool shared = !(timer.notify & SIGEV_THREAD_ID);
  pid_t target = shared ? process.pid : timer.target;
  auto thread = std::ranges::find(process.threads, target, &StoppedThread::tid);
  if (thread == process.threads.end()) return false;
  return std::ranges::any_of(TRY(thread->hold.peek_signals(shared)),
                             [&](const auto& info) { return timer.queued(info); });
}

// A time on the wall clock that was set as an absolute one stays there; a relative one is counted by the monotonic
// clock. The kernel does not tell which it was, but for the list of all that is armed; nothing if it is
// not there, or not alone.
Result<std::optional<int>> find_wall_clock(const Reading& reading) {
  auto text = read_file("/proc/timer_list");
  if (!text) return refuse(std::string(kDoubt) + " (" + text.error().what + ")");
  Clocks now = TRY(read_clocks({}));
  int64_t ahead = now.realtime - now.monotonic;
  int64_t own = TRY(read_offsets(1)).monotonic;  // the list is of the initial namespace
  bool monotonic = false, wall = false;
  for (const ArmedTimer& armed : parse_timer_list(*text)) {
    int64_t offset = armed.clock == CLOCK_MONOTONIC ? own : ahead;
    constexpr int64_t slack = 10'000;  // the two clocks were not read quite at once
    bool mine = armed.due - offset >= reading.before + reading.left - slack &&
                armed.due - offset <= reading.after + reading.left + slack;
    if (!mine || armed.function != "posix_timer_fn") continue;
    (armed.clock == CLOCK_MONOTONIC ? monotonic : wall) |=
        armed.clock == CLOCK_MONOTONIC || armed.clock == CLOCK_REALTIME;
  }
  if (monotonic == wall) return std::nullopt;
  return monotonic ? CLOCK_MONOTONIC : CLOCK_REALTIME;
}

Result<int> find_due_clock(const PosixTimer& timer, const Reading& reading, bool pending) {
  switch (timer.clock) {
    case CLOCK_REALTIME_ALARM:
      return CLOCK_REALTIME;
    case CLOCK_BOOTTIME_ALARM:
      return CLOCK_BOOTTIME;
    case CLOCK_REALTIME: {
      if (!reading.left || (pending && !reading.interval)) return CLOCK_MONOTONIC;
      auto found = find_wall_clock(reading);
      // While its signal is queued it is in no list; a repeated one keeps its rhythm by either.
      if (pending && (found ? !*found : found.error().refusal)) return CLOCK_MONOTONIC;
      auto clock = TRY(std::move(found));
      if (!clock) return refuse_for_now(kDoubt);
      return *clock;
    }
  }
  return timer.clock;
}

Result<> check(const Dumping& dumping, const StoppedProcess& process, const PosixTimer& timer) {
  auto has_thread = [&](pid_t tid) {
    return std::ranges::find(process.threads, tid, &StoppedThread::tid) != process.threads.end();
  };
  // The number of a clock is the one that the process has used.
  auto has_owner = [&](pid_t tid) {
    return std::ranges::any_of(process.threads, [&](const StoppedThread& thread) {
      return dumping.nested.seen_by(process.pid, thread.tid()) == tid;
    });
  };
  if (timer.id > kHighestId && !dumping.kernel.timer_ids)
    return refuse(fmt::format("has the number {}, too high to be had again", timer.id));
  if ((timer.notify & SIGEV_THREAD_ID) && !has_thread(timer.target))
    return refuse(fmt::format("signals thread {}, which has ended", timer.target));
  // As the kernel shows CLOCK_THREAD_CPUTIME_ID.
  bool of_a_thread = timer.clock < 0 && (timer.clock & 4) && cpu_clock_owner(timer.clock) == 0;
  if (of_a_thread && process.threads.size() > 1)
    return refuse("counts the CPU time of one thread, and which one cannot be told");
  if (timer.clock < 0 && cpu_clock_owner(timer.clock) != 0 && !has_owner(cpu_clock_owner(timer.clock)))
    return refuse(fmt::format("counts the CPU time of pid {}, not of its own process", cpu_clock_owner(timer.clock)));
  constexpr uint64_t kWakeAlarm = 35;  // CAP_WAKE_ALARM
  bool alarm = timer.clock == CLOCK_REALTIME_ALARM || timer.clock == CLOCK_BOOTTIME_ALARM;
  if (alarm && !(process.status.cap_effective >> kWakeAlarm & 1))
    return refuse("is an alarm, which needs CAP_WAKE_ALARM to be made again");
  return {};
}

Result<> dump_timer(Dumping& dumping, DumpedProcess& process, const PosixTimer& timer, image::Timers& out) {
  TRY(check(dumping, process.stopped, timer));
  Reading reading;
  bool pending = false;
  auto look = [&]() -> Result<int> {
    // In this order: what expires after the reading will expire again, and what is found queued is read once more, as
    // then the kernel tells when the next one is due.
    reading = TRY(read_timer(process, timer.id));
    pending = TRY(is_queued(process.stopped, timer));
    if (pending) reading = TRY(read_timer(process, timer.id));
    return find_due_clock(timer, reading, pending);
  };
  auto looked = look();
  // Whoever loses the CPU between two readings has others' timers in between.
  for (int attempt = 0; !looked && looked.error().refusal && attempt < kMostLooks; ++attempt) looked = look();
  int due_clock = TRY(std::move(looked));
  auto* written = out.add_timers();
  written->set_id(timer.id);
  written->set_clock(timer.clock);
  written->set_notify(timer.notify);
  written->set_signal(timer.signal);
  written->set_value(timer.value);
  if (timer.notify & SIGEV_THREAD_ID) written->set_thread(timer.target);
  written->set_interval(reading.interval);
  written->set_pending(pending);
  written->set_due_clock(due_clock);
  if (is_cpu_clock(timer.clock)) {
    written->set_left(reading.left);
  } else if (reading.left) {
    int64_t passed = TRY(read_clock(CLOCK_MONOTONIC, {})) - reading.after;
    written->set_due(TRY(read_clock(due_clock, dumping.clock_offsets)) - passed + reading.left);
  }
  return {};
}

Result<> dump(Dumping& dumping, DumpedProcess& process, const TaskRoom& room) {
  image::Timers out;
  for (const PosixTimer& timer : TRY(read_posix_timers(process.stopped.pid))) {
    std::string label = fmt::format("timer {}", timer.id);
    auto dumped = dump_timer(dumping, process, timer, out);
    if (!dumped && dumped.error().refusal)
      dumping.refuse(process.stopped.pid, label, dumped.error().what);
    else
      TRY(in(label, std::move(dumped)));
  }
  process.put(room.name, room.version, out);
  return {};
}

// With exactly this number. Without the kernel's help they are counted up from 0.
Result<> create(const Restoring& restoring, RestoredProcess& process, const image::Timers::Timer& timer) {
  RemoteCalls& calls = process.leader();
  RemoteAddress event = process.scratch, id = process.scratch + sizeof(Event);
  TRY(process.memory->write_value(event, Event{.value = timer.value(),
                                               .signal = timer.signal(),
                                               .notify = timer.notify(),
                                               .thread = restoring.nested.seen_by(process.pid, timer.thread()),
                                               .padding = {}}));
  for (;;) {
    TRY(process.memory->write_value(id, timer.id()));
    TRY(in("timer_create", calls(SYS_timer_create, timer.clock(), event, id)));
    int got = TRY(process.memory->read<int>(id));
    if (got == timer.id()) return {};
    TRY(in("timer_delete", calls(SYS_timer_delete, got)));
    if (got > timer.id()) return fail("its number cannot be had again");
  }
}

Result<> set(RestoredProcess& process, int id, bool absolute, int64_t value, int64_t interval) {
  TRY(process.memory->write_value(process.scratch, itimerspec{.it_interval = to_timespec(interval),
                                                              .it_value = to_timespec(std::max<int64_t>(value, 1))}));
  TRY(in("timer_settime", process.leader()(SYS_timer_settime, id, absolute ? TIMER_ABSTIME : 0, process.scratch, 0)));
  return {};
}

Result<> arm(const Restoring& restoring, RestoredProcess& process, const image::Timers::Timer& timer) {
  if (is_cpu_clock(timer.clock())) {
    if (timer.left() || timer.pending())
      return set(process, timer.id(), false, timer.pending() ? 1 : timer.left(), timer.interval());
    return {};
  }
  if (!timer.due()) return timer.pending() ? set(process, timer.id(), false, 1, 0) : Result<>{};
  int64_t now = TRY(read_clock(timer.due_clock(), restoring.clock_offsets));
  // So that it expires at once, and in its rhythm from then on.
  int64_t due = timer.pending() ? std::min(timer.due() - timer.interval(), now) : timer.due();
  // An absolute time is one of the process's own clocks, which a time namespace has made to go on.
  bool absolute = timer.due_clock() == timer.clock() && restoring.kernel.time_namespace;
  return set(process, timer.id(), absolute, absolute ? due : due - now, timer.interval());
}

Result<> restore(Restoring& restoring, RestoredProcess& process, const TaskRoom& room) {
  auto timers = TRY(process.read<image::Timers>(room.name, room.version));
  if (timers.timers().empty()) return {};
  RemoteCalls& calls = process.leader();
  bool exact = calls(SYS_prctl, kRestoreIds, 1, 0, 0, 0).has_value();
  for (const auto& timer : timers.timers()) {
    std::string label = fmt::format("timer {}", timer.id());
    TRY(in(label, create(restoring, process, timer)));
    TRY(in(label, arm(restoring, process, timer)));
  }
  if (exact) TRY(in("PR_TIMER_CREATE_RESTORE_IDS", calls(SYS_prctl, kRestoreIds, 0, 0, 0, 0)));
  return {};
}

}  // namespace

extern const TaskRoom kTimers;
const TaskRoom kTimers{.name = "timers", .version = 1, .dump = dump, .restore = restore};

}  // namespace ks::engine
