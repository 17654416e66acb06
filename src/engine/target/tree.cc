// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/tree.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <ranges>
#include <span>
#include <thread>
#include <unordered_map>
#include <unordered_set>

#include "base/backoff.h"
#include "base/file.h"
#include "engine/target/deciders.h"
#include "engine/target/members.h"
#include "engine/target/seizure.h"

namespace ks::engine {

namespace {

using Clock = Backoff::Clock;
using namespace std::chrono_literals;

constexpr auto kFreezeLimit = 5s;  // of all attempts
// Of the first attempt. A running thread stops within a tick, but one that many others keep from running has to run
// first.
constexpr std::chrono::milliseconds kStopLimit = 200ms;
constexpr std::chrono::milliseconds kReapLimit = 200ms, kOrphanLimit = 5s;

// How long to wait for a dead process to be reaped: init always does, sooner or later; another parent may never.
std::chrono::milliseconds reaping_limit(pid_t pid) {
  auto text = read_record(proc_path(pid, "stat"));
  auto stat = text ? parse_stat(*text) : Result<StatLine>(fail("gone"));
  return stat && stat->ppid == 1 ? kOrphanLimit : kReapLimit;
}

// A stop of job control is one of the whole process; one that has begun, or is demanded by a signal that nothing can
// hold back, ends at once where it is let go on.
Result<> check_stops(const std::vector<StoppedProcess>& processes) {
  for (const auto& process : processes) {
    if (process.threads.empty()) continue;
    int stop = process.threads.front().stop_signal;
    bool demanded = !stop && process.status.shared_pending >> (SIGSTOP - 1) & 1;
    if (demanded || std::ranges::any_of(process.threads, [&](auto& thread) { return thread.stop_signal != stop; }))
      return fail(fmt::format("pid {}: is just being stopped", process.pid), EAGAIN);
  }
  return {};
}

// Zombies that have been waited for meanwhile, or that somebody else is to wait for.
void forget_reaped(std::vector<StoppedProcess>& processes) {
  std::unordered_set<pid_t> living;
  for (const auto& process : processes)
    if (!process.threads.empty()) living.insert(process.pid);
  std::erase_if(processes, [&](const StoppedProcess& process) {
    if (!process.threads.empty()) return false;
    auto text = read_record(process.proc("stat"));
    auto stat = text ? parse_stat(*text) : Result<StatLine>(fail("gone"));
    return !stat || stat->state != 'Z' || !living.contains(stat->ppid);
  });
}

// The number of one that has ended before it was seized may be that of somebody else by now. A group keeps its
// members.
Result<> check_members(const std::vector<StoppedProcess>& processes, std::span<const pid_t> members) {
  std::unordered_set<pid_t> known(members.begin(), members.end());
  for (const auto& process : processes)
    if (!process.threads.empty() && !known.contains(process.pid))
      return fail(fmt::format("pid {}: is no member of the control group", process.pid), EAGAIN);
  return {};
}

bool is_first_of_namespace(const StoppedProcess& process) {
  return process.status.ns_pids.size() > 1 && process.status.ns_pids.back() == 1;
}

Result<> read_outside(StoppedProcess& process) {
  process.stat = TRY(parse_stat(TRY(read_record(process.proc("stat")))));
  process.status = TRY(parse_status(TRY(read_record(process.proc("status")))));
  if (process.zombie) return {};
  process.areas = TRY(parse_smaps(TRY(read_file(process.proc("smaps")))));
  process.descriptors = TRY(list_descriptors(process.pid));
  return {};
}

Result<> put_parents_first(std::vector<StoppedProcess>& processes) {
  std::unordered_set<pid_t> all;
  for (const auto& process : processes) all.insert(process.pid);
  std::unordered_map<pid_t, std::vector<size_t>> children;  // those of 0 have their parent elsewhere
  for (size_t i = 0; i < processes.size(); ++i)
    children[all.contains(processes[i].stat.ppid) ? processes[i].stat.ppid : 0].push_back(i);
  std::vector<size_t> order = children[0];
  for (size_t at = 0; at < order.size(); ++at)
    for (size_t child : children[processes[order[at]].pid]) order.push_back(child);
  if (order.size() != processes.size()) return fail("the process tree has a cycle");
  std::vector<StoppedProcess> ordered;
  ordered.reserve(order.size());
  for (size_t index : order) ordered.push_back(std::move(processes[index]));
  processes = std::move(ordered);
  return {};
}

}  // namespace

Result<FrozenTree> FrozenTree::freeze(const std::string& cgroup, pid_t root) {
  auto give_up = Clock::now() + kFreezeLimit;
  auto stop_limit = kStopLimit;
  for (auto pause = 10ms;; pause *= 2, stop_limit *= 2) {
    FrozenTree tree;
    tree.cgroup_ = cgroup;
    auto stopped = [&]() -> Result<> {
      // A thread that is not stopped yet may start others, so we look again until nothing is new.
      Seizure seizure(tree.processes_, stop_limit);
      std::vector<pid_t> pids;
      do {
        for (bool found = true; found;) {
          pids = TRY(cgroup.empty() ? list_tree(root) : list_cgroup(cgroup));
          found = TRY(seizure.seize_more(pids));
        }
      } while (TRY(seizure.settle_all()));
      if (!cgroup.empty()) TRY(check_members(tree.processes_, pids));
      forget_reaped(tree.processes_);
      for (auto& process : tree.processes_) TRY(in(fmt::format("pid {}", process.pid), read_outside(process)));
      return check_stops(tree.processes_);
    }();
    if (!stopped) {
      if (stopped.error().code != EAGAIN || Clock::now() > give_up) return std::unexpected(stopped.error());
      Seizure::release(tree.processes_);
      std::this_thread::sleep_for(pause);
      continue;
    }
    if (tree.processes_.empty()) return fail("no process to checkpoint");
    for (auto& process : tree.processes_) {
      if (process.threads.size() == 1) process.leader().hold.set_end_told_late(process.zombie);
      bool ends_last = is_first_of_namespace(process) && !process.zombie;
      for (auto& thread : process.threads) thread.hold.set_ends_last(ends_last);
    }
    TRY(put_parents_first(tree.processes_));
    TRY(check_deciders(tree.processes_));
    return tree;
  }
}

FrozenTree::~FrozenTree() { Seizure::release(processes_); }

Result<> FrozenTree::kill_with_us() {
  for (auto& process : processes_)
    for (auto& thread : process.threads) TRY(thread.hold.kill_with_us());
  return {};
}

Result<> FrozenTree::kill() {
  for (auto& process : processes_)
    if (::kill(process.pid, SIGKILL) && errno != ESRCH) return fail_errno(fmt::format("kill {}", process.pid));
  // Children first: the first process of a PID namespace ends only after all others there.
  for (auto& process : std::views::reverse(processes_)) {
    if (is_first_of_namespace(process)) {
      TRY(await_ends_of(process.threads));
      process.threads.clear();
    }
    // The leader becomes waitable only after its other threads are reaped.
    while (!process.threads.empty()) {
      SeizedThread& thread = process.threads.back().hold;
      while (thread.tid() && TRY(thread.wait()) != SeizedThread::Stop::gone) TRY(thread.resume(SIGKILL));
      process.threads.pop_back();
    }
  }
  // A PID is free once its parent, or init, has reaped the process. A parent that never does keeps a zombie,
  // as with any death; nothing is won by waiting for that one.
  auto now = Clock::now();
  for (auto& process : processes_)
    for (Backoff backoff; ::access(process.proc("stat").c_str(), F_OK) == 0; backoff.pause()) {
      bool dead = TRY(has_ended(process.pid));
      if (Clock::now() <= now + (dead ? reaping_limit(process.pid) : kFreezeLimit)) continue;
      if (dead) break;
      return fail(fmt::format("pid {} does not die", process.pid));
    }
  processes_.clear();
  return {};
}

}  // namespace ks::engine
