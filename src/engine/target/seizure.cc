// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/seizure.h"

#include <fmt/format.h>
#include <linux/sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <ranges>

#include "base/file.h"
#include "base/text.h"
#include "engine/target/members.h"
#include "engine/target/moves.h"
#include "engine/target/remaining.h"
#include "engine/target/settle.h"

namespace ks::engine {

namespace {

using Clock = Backoff::Clock;
using namespace std::chrono_literals;

constexpr auto kReleaseLimit = 200ms;
// Threads that stop at the same time. Between its stop and our look at it a thread would see our death as an EINTR.
constexpr size_t kMostAtOnce = 16;

// Of a call in which a thread sleeps, as /proc/PID/syscall tells it: whether a child is made by it that has its
// parent's memory and keeps it waiting (vfork(2)).
Result<bool> makes_vfork_child(pid_t pid, pid_t tid) {
  std::string text = TRY(read_file(proc_path(pid, fmt::format("task/{}/syscall", tid))));
  auto words = split_words(text);
  auto number = words.empty() ? std::nullopt : parse_number<long>(words[0]);
  auto first = words.size() < 2 ? std::nullopt : parse_number<uint64_t>(words[1].substr(2), 16);
  if (!number || !first) return false;
  switch (*number) {
    case SYS_vfork:
      return true;
    case SYS_clone:
      return *first & CLONE_VFORK;
    case SYS_clone3:
      return TRY(TRY(RemoteMemory::open(pid)).read<uint64_t>({*first})) & CLONE_VFORK;
  }
  return false;
}

// A thread that does not stop may do so later.
Error not_stopped(pid_t pid, pid_t tid) {
  auto waits = makes_vfork_child(pid, tid);
  if (waits && *waits)
    return {.code = EAGAIN, .what = "waits in vfork(2) for its child to call execve(2) or to end", .refusal = true};
  return {.code = EAGAIN, .what = "does not stop"};
}

// Waits until the thread is in a stop that leaves its state alone; false: it is gone.
Result<bool> await_stop(pid_t pid, StoppedThread& thread, Clock::time_point limit) {
  for (Backoff backoff(limit);;) {
    SeizedThread::Stop stop;
    int signal = 0;
    if (!TRY(thread.hold.poll(stop, &signal))) {
      if (!backoff.pause()) return std::unexpected(not_stopped(pid, thread.tid()));
      continue;
    }
    switch (stop) {
      case SeizedThread::Stop::gone:
        return false;
      case SeizedThread::Stop::signal:
      case SeizedThread::Stop::syscall:
        // The signal was on its way before our interrupt, which is still to come.
        TRY(thread.hold.resume(stop == SeizedThread::Stop::signal ? signal : 0));
        break;
      case SeizedThread::Stop::group:
        thread.stop_signal = signal;
        [[fallthrough]];
      case SeizedThread::Stop::event:
        thread.stopped_at = Clock::now().time_since_epoch() / 1ns;
        TRY(take_registers(thread));
        return true;
    }
  }
}

// Why it could not be seized, or it after all.
Result<SeizedThread> reconsider(pid_t pid, pid_t tid, Error error) {
  auto text = read_record(proc_path(pid, fmt::format("task/{}/status", tid)));
  pid_t tracer = text ? TRY(parse_status(*text)).tracer_pid : 0;
  // One that we have asked to stop in vain and could not let go since: it will stop some day.
  if (tracer == ::getpid()) return SeizedThread::adopt(tid);
  if (tracer) return refuse_for_now(fmt::format("is traced by pid {}", tracer));
  return std::unexpected(std::move(error));
}

// A signal that the process ignores is not ignored if it is for a thread that is traced, and the kernel then wakes
// another one for it, whose wait would end with EINTR unless it is traced too. Signals for the process are for its
// leader, those of a child that ends are for the thread that has made it: these come last.
std::vector<pid_t> in_order_of_seizing(pid_t pid, std::vector<pid_t> tids) {
  if (tids.size() < 2) return tids;
  auto rank = [&](pid_t tid) {
    if (tid == pid) return 2;
    auto children = read_file(proc_path(pid, fmt::format("task/{}/children", tid)));
    return children && !children->empty() ? 1 : 0;
  };
  std::vector<std::pair<int, pid_t>> ranked;
  ranked.reserve(tids.size());
  for (pid_t tid : tids) ranked.emplace_back(rank(tid), tid);
  std::ranges::sort(ranked);
  std::ranges::transform(ranked, tids.begin(), &std::pair<int, pid_t>::second);
  return tids;
}

Result<bool> read_and_settle(StoppedProcess& process, StoppedThread& thread, std::span<const Vma> vdso_texts) {
  thread.mask = TRY(thread.hold.signal_mask());
  thread.xstate = TRY(thread.hold.xstate());
  thread.rseq = TRY(thread.hold.rseq());
  return settle(process, thread, vdso_texts);
}

}  // namespace

Result<bool> Seizure::seize_more(const std::vector<pid_t>& pids) {
  bool found = false;
  for (pid_t pid : pids) {
    if (pid == ::getpid()) return refuse("the target contains kernel-swap itself");
    auto [known, is_new] = processes_by_pid_.try_emplace(pid, processes_.size());
    if (is_new) processes_.push_back(StoppedProcess{.pid = pid});
    found |= is_new;
    StoppedProcess& process = processes_[known->second];
    auto tids = TRY(list_threads(pid));
    std::erase_if(tids, [&](pid_t tid) { return tids_.contains(tid) || (tid == pid && process.zombie); });
    for (pid_t tid : in_order_of_seizing(pid, std::move(tids))) {
      if (tid != pid && TRY(is_ring_worker(pid, tid))) continue;
      auto event_wait = find_event_wait(pid, tid);
      auto thread = SeizedThread::seize(tid);
      if (!thread && !TRY(has_ended(tid)))
        thread = TRY(in(fmt::format("pid {}: thread {}", pid, tid), reconsider(pid, tid, std::move(thread).error())));
      if (!thread) {
        if (tid == pid) process.zombie = found = true;
        continue;
      }
      thread->set_end_told_late(tid == pid);
      TRY(thread->interrupt());
      tids_.insert(tid);
      process.threads.push_back({.hold = *std::move(thread), .event_wait = event_wait});
      on_their_way_.emplace_back(known->second, process.threads.size() - 1);
      found = true;
      if (on_their_way_.size() == kMostAtOnce) TRY(await_stops());
    }
  }
  TRY(await_stops());
  forget_dead_threads();
  for (auto& process : processes_)
    std::ranges::stable_partition(process.threads, [&](auto& thread) { return thread.tid() == process.pid; });
  return found;
}

Result<> Seizure::await_stops() {
  auto limit = Clock::now() + stop_limit_;
  for (auto [process, index] : std::exchange(on_their_way_, {})) {
    StoppedThread& thread = processes_[process].threads[index];
    pid_t tid = thread.tid();
    std::string label = fmt::format("pid {}: thread {}", processes_[process].pid, tid);
    if (!TRY(in(label, await_stop(processes_[process].pid, thread, limit))))
      tids_.erase(tid);
    else if (thread.event_wait)
      TRY(in(label, shorten_event_wait(processes_[process].pid, thread)));
  }
  return {};
}

Result<bool> Seizure::settle_all() {
  bool ran = false;
  for (auto& process : processes_)
    if (!process.zombie && !std::ranges::all_of(process.threads, &StoppedThread::settled))
      TRY(in(fmt::format("pid {}", process.pid), settle_threads(process, ran)));
  forget_dead_threads();
  return ran;
}

Result<> Seizure::settle_threads(StoppedProcess& process, bool& ran) {
  process.status = TRY(parse_status(TRY(read_record(process.proc("status")))));
  process.areas = TRY(parse_maps(TRY(read_file(process.proc("maps")))));
  process.memory = TRY(RemoteMemory::open(process.pid));
  auto texts = TRY(vdso_texts(process));
  for (auto& thread : process.threads) {
    if (thread.settled) continue;
    pid_t tid = thread.tid();
    auto result = read_and_settle(process, thread, texts);
    thread.settled = true;
    if (thread.tid() == 0) {
      tids_.erase(tid);
      ran = true;
    } else if (!result && result.error().refusal) {
      thread.unsettled = result.error().what;
    } else {
      ran |= TRY(in(fmt::format("thread {}", tid), std::move(result)));
    }
  }
  return {};
}

void Seizure::forget_dead_threads() {
  for (auto& process : processes_) std::erase_if(process.threads, [](auto& thread) { return thread.tid() == 0; });
}

void Seizure::release(std::vector<StoppedProcess>& processes) {
  std::vector<SeizedThread> late;
  auto let_go = [&](StoppedThread& thread) {
    if (!thread.tid() || thread.hold.detach()) return;
    (void)thread.hold.interrupt();  // it runs, or has died
    late.push_back(std::move(thread.hold));
  };
  // In the reverse order of seizing.
  for (auto& process : processes) {
    if (process.threads.empty()) continue;
    let_go(process.leader());
    for (auto& thread : std::views::reverse(std::views::drop(process.threads, 1))) let_go(thread);
  }
  processes.clear();
  for (Backoff backoff(Clock::now() + kReleaseLimit); !late.empty() && backoff.pause();)
    std::erase_if(late, [](SeizedThread& thread) {
      SeizedThread::Stop stop;
      int signal = 0;
      auto polled = thread.poll(stop, &signal);
      if (polled && !*polled) return false;
      if (polled && thread.tid() && stop == SeizedThread::Stop::signal) return !thread.resume(signal);
      if (thread.tid() && !thread.detach()) thread.forget();  // it has died
      return true;
    });
}

}  // namespace ks::engine
