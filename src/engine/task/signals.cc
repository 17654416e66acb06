// SPDX-License-Identifier: LGPL-2.1-or-later
// Handlers, signals queued for the process, and interval timers. What belongs to one thread is the threads'
// room's.
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include <algorithm>
#include <array>

#include "base/file.h"
#include "engine/signals.pb.h"
#include "engine/target/posix_timers.h"
#include "engine/task/queued_signals.h"
#include "engine/task/room.h"

namespace ks::engine {

namespace {

struct KernelAction {
  uint64_t handler, flags, restorer, mask;
  bool operator==(const KernelAction&) const = default;
};
constexpr size_t kSignalSetSize = 8;

struct KernelInterval {
  int64_t interval_seconds, interval_microseconds, seconds, microseconds;
  uint64_t remaining() const { return static_cast<uint64_t>(seconds * 1'000'000 + microseconds); }
  uint64_t interval() const { return static_cast<uint64_t>(interval_seconds * 1'000'000 + interval_microseconds); }
};
constexpr std::array kTimers = {ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF};

Result<> dump_handlers(DumpedProcess& process, image::Signals& out) {
  std::vector<RemoteCall> calls;
  RemoteAddress scratch = process.foothold.scratch();
  for (uint64_t signal = 1; signal < NSIG; ++signal)
    calls.push_back(
        {SYS_rt_sigaction, {signal, 0, scratch.value + (signal - 1) * sizeof(KernelAction), kSignalSetSize}});
  auto results = TRY(process.foothold.make_all(process.foothold.quickest(), calls));
  if (std::ranges::any_of(results, is_error)) return fail("the handler of a signal cannot be read");
  std::vector<KernelAction> actions(calls.size());
  TRY(process.stopped.memory->read(scratch, std::as_writable_bytes(std::span(actions))));
  // Also of those by default: a program can read flags and mask back, and SIGCHLD's flags matter.
  for (uint32_t signal = 1; const KernelAction& action : actions) {
    if (action != KernelAction{}) {
      auto* handler = out.add_handlers();
      handler->set_signal(signal);
      handler->set_handler(action.handler);
      handler->set_flags(action.flags);
      handler->set_restorer(action.restorer);
      handler->set_mask(action.mask);
    }
    ++signal;
  }
  return {};
}

Result<std::array<KernelInterval, 3>> read_timers(DumpedProcess& process) {
  std::array<KernelInterval, 3> timers;
  RemoteAddress scratch = process.foothold.scratch();
  std::array<RemoteCall, kTimers.size()> calls;
  for (size_t i = 0; i < kTimers.size(); ++i)
    calls[i] = {SYS_getitimer, {static_cast<uint64_t>(kTimers[i]), scratch.value + i * sizeof timers[i]}};
  auto results = TRY(process.foothold.make_all(process.foothold.quickest(), calls));
  if (std::ranges::any_of(results, is_error)) return fail("an interval timer cannot be read");
  TRY(process.stopped.memory->read(scratch, std::as_writable_bytes(std::span(timers))));
  return timers;
}

// A timer goes on while its process is stopped, so its expiry may fall between reading it and reading the
// queue. It did if the time to the next one has grown. (To stop it for the reading would lose it with us.)
bool expired_between(const std::array<KernelInterval, 3>& before, const std::array<KernelInterval, 3>& after) {
  for (size_t i = 0; i < before.size(); ++i)
    if (before[i].remaining() && (!after[i].remaining() || after[i].remaining() > before[i].remaining())) return true;
  return false;
}

bool any_armed(const std::array<KernelInterval, 3>& timers) {
  return std::ranges::any_of(timers,
                             [](const KernelInterval& timer) { return timer.remaining() || timer.interval(); });
}

Result<> dump(Dumping&, DumpedProcess& process, const TaskRoom& room) {
  StoppedProcess& stopped = process.stopped;
  image::Signals out;
  TRY(dump_handlers(process, out));
  auto posix_timers = TRY(read_posix_timers(stopped.pid));

  for (int attempt = 0;; ++attempt) {
    if (attempt == 100) return fail("an interval timer expires faster than it can be read");
    auto before = TRY(read_timers(process));
    auto queued = TRY(stopped.leader().hold.peek_signals(true));
    // What is not armed stays so while all threads are stopped.
    auto after = any_armed(before) ? TRY(read_timers(process)) : before;
    if (expired_between(before, after)) continue;
    for (const siginfo_t& info : queued)
      if (!queued_by_any(posix_timers, info) && info.si_signo != SIGSTOP) out.add_pending(encode_signal(info));
    for (const KernelInterval& timer : after) {
      auto* written = out.add_timers();
      written->set_interval(timer.interval());
      // Expired, its signal still queued: the kernel arms it again on delivery, and shows nothing until then.
      written->set_remaining(timer.remaining() || !timer.interval() ? timer.remaining() : timer.interval());
    }
    break;
  }
  process.put(room.name, room.version, out);
  return {};
}

Result<> restore(Restoring& restoring, RestoredProcess& process, const TaskRoom& room) {
  auto signals = TRY(process.read<image::Signals>(room.name, room.version));
  for (const auto& handler : signals.handlers()) {
    TRY(process.memory->write_value(process.scratch, KernelAction{.handler = handler.handler(),
                                                                  .flags = handler.flags(),
                                                                  .restorer = handler.restorer(),
                                                                  .mask = handler.mask()}));
    TRY(in(fmt::format("handler of signal {}", handler.signal()),
           process.leader()(SYS_rt_sigaction, handler.signal(), process.scratch, 0, kSignalSetSize)));
  }
  TRY(queue_signals(restoring, process, process.threads.front(), signals.pending(), true));
  TRY(limit_signals(process));
  if (signals.timers_size() != static_cast<int>(kTimers.size())) return fail("interval timers: not three");
  for (size_t i = 0; i < kTimers.size(); ++i) {
    const auto& timer = signals.timers(static_cast<int>(i));
    if (!timer.remaining()) continue;
    auto split = [](uint64_t microseconds) {
      return std::pair(static_cast<int64_t>(microseconds / 1'000'000),
                       static_cast<int64_t>(microseconds % 1'000'000));
    };
    auto [seconds, microseconds] = split(timer.remaining());
    auto [interval_seconds, interval_microseconds] = split(timer.interval());
    TRY(process.memory->write_value(process.scratch, KernelInterval{.interval_seconds = interval_seconds,
                                                                    .interval_microseconds = interval_microseconds,
                                                                    .seconds = seconds,
                                                                    .microseconds = microseconds}));
    TRY(in("setitimer", process.leader()(SYS_setitimer, kTimers[i], process.scratch, 0)));
  }
  return {};
}

}  // namespace

extern const TaskRoom kSignals;
const TaskRoom kSignals{.name = "signals", .version = 1, .dump = dump, .restore = restore};

}  // namespace ks::engine
