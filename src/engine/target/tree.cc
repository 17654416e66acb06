// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/tree.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <thread>
#include <unordered_map>
#include <unordered_set>

#include "base/file.h"
#include "base/text.h"
#include "engine/target/settle.h"

namespace ks::engine {

namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto kStopLimit = 200ms;  // a running thread stops within a tick
constexpr auto kFreezeLimit = 5s;   // of all attempts
constexpr std::chrono::milliseconds kReapLimit = 200ms, kOrphanLimit = 5s;

Result<> add_pids(std::string_view text, std::vector<pid_t>& pids) {
  for (auto word : split_words(text)) {
    auto pid = parse_number<pid_t>(word);
    if (!pid) return fail("not a process list: " + std::string(text));
    // A process in another pid namespace than ours shows as 0.
    if (*pid == 0) return refuse("a process lies outside this pid namespace");
    pids.push_back(*pid);
  }
  return {};
}

Result<std::vector<pid_t>> list_cgroup(const std::string& directory) {
  std::vector<pid_t> pids;
  TRY(add_pids(TRY(read_file(directory + "/cgroup.procs")), pids));
  std::error_code error;
  std::filesystem::directory_iterator below(directory, error);
  if (error) return fail(directory + ": " + error.message(), error.value());
  for (const auto& entry : below) {
    if (!entry.is_directory(error)) continue;
    auto inner = list_cgroup(entry.path());
    if (!inner && inner.error().code == ENOENT) continue;  // removed meanwhile
    for (pid_t pid : TRY(std::move(inner))) pids.push_back(pid);
  }
  return pids;
}

Result<std::vector<pid_t>> list_children(pid_t pid) {
  std::vector<pid_t> children;
  auto tids = list_directory(proc_path(pid, "task"));
  if (!tids) return children;  // it has ended
  for (const auto& tid : *tids)
    if (auto text = read_file(proc_path(pid, "task/" + tid + "/children"))) TRY(add_pids(*text, children));
  return children;
}

Result<std::vector<pid_t>> list_tree(pid_t root) {
  std::vector<pid_t> pids{root};
  if (::access(proc_path(root, "task").c_str(), F_OK))
    return fail(fmt::format("pid {}: no such process", root), ESRCH);
  for (size_t at = 0; at < pids.size(); ++at)
    for (pid_t child : TRY(list_children(pids[at]))) pids.push_back(child);
  return pids;
}

// A zombie belongs to no group any more (Documentation/admin-guide/cgroup-v2.rst), but to its parent.
Result<std::vector<pid_t>> list_cgroup_with_zombies(const std::string& directory) {
  auto pids = TRY(list_cgroup(directory));
  std::unordered_set<pid_t> known(pids.begin(), pids.end());
  for (size_t at = 0, living = pids.size(); at < living; ++at)
    for (pid_t child : TRY(list_children(pids[at])))
      if (!known.contains(child) && TRY(has_ended(child))) pids.push_back(child);
  return pids;
}

Result<std::vector<pid_t>> list_threads(pid_t pid) {
  std::vector<pid_t> tids;
  auto names = list_directory(proc_path(pid, "task"));
  if (!names) return tids;  // it has ended
  for (const auto& name : *names)
    if (auto tid = parse_number<pid_t>(name)) tids.push_back(*tid);
  std::ranges::sort(tids, [&](pid_t a, pid_t b) { return std::pair(a != pid, a) < std::pair(b != pid, b); });
  return tids;
}

// How long to wait for a dead process to be reaped: init always does, sooner or later; another parent may never.
std::chrono::milliseconds reaping_limit(pid_t pid) {
  auto text = read_file(proc_path(pid, "stat"));
  auto stat = text ? parse_stat(*text) : Result<StatLine>(fail("gone"));
  return stat && stat->ppid == 1 ? kOrphanLimit : kReapLimit;
}

// Waits until the thread is in a stop that leaves its state alone; false: it is gone.
Result<bool> await_stop(StoppedThread& thread, Clock::time_point limit) {
  for (auto pause = 20us;; pause = std::min(pause * 2, std::chrono::microseconds(1000))) {
    SeizedThread::Stop stop;
    int signal = 0;
    if (!TRY(thread.hold.poll(stop, &signal))) {
      if (Clock::now() > limit) return fail("does not stop", EAGAIN);
      std::this_thread::sleep_for(pause);
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
        return true;
    }
  }
}

// Lets all go. A thread that has been told to stop and has not can be let go only once it has, for which it
// may need the others.
void release(std::vector<StoppedProcess>& processes) {
  std::vector<SeizedThread> late;
  for (auto& process : processes)
    for (auto& thread : process.threads)
      if (thread.tid() && !thread.hold.detach()) late.push_back(std::move(thread.hold));
  processes.clear();
  auto limit = Clock::now() + kStopLimit;
  while (!late.empty() && Clock::now() < limit) {
    std::erase_if(late, [](SeizedThread& thread) {
      SeizedThread::Stop stop;
      int signal = 0;
      auto polled = thread.poll(stop, &signal);
      if (polled && !*polled) return false;
      if (polled && thread.tid() && stop == SeizedThread::Stop::signal) return !thread.resume(signal);
      if (thread.tid() && !thread.detach()) thread.forget();  // it has died
      return true;
    });
    std::this_thread::sleep_for(1ms);
  }
}

// Why it could not be seized, or it after all.
Result<SeizedThread> reconsider(pid_t pid, pid_t tid, Error error) {
  auto text = read_file(proc_path(pid, fmt::format("task/{}/status", tid)));
  pid_t tracer = text ? TRY(parse_status(*text)).tracer_pid : 0;
  // One that we have asked to stop in vain and could not let go since: it will stop some day.
  if (tracer == ::getpid()) return SeizedThread::adopt(tid);
  if (tracer) return refuse(fmt::format("is traced by pid {}", tracer));
  return std::unexpected(std::move(error));
}

// What is in our hands so far.
class Seizure {
 public:
  explicit Seizure(std::vector<StoppedProcess>& processes) : processes_(processes) {}

  // Seizes what is not seized yet; true if there was anything.
  Result<bool> seize_more(const std::vector<pid_t>& pids, Clock::time_point limit) {
    std::vector<std::pair<size_t, size_t>> fresh;
    bool found = false;
    for (pid_t pid : pids) {
      if (pid == ::getpid()) return refuse("the target contains kernel-swap itself");
      auto [known, is_new] = processes_by_pid_.try_emplace(pid, processes_.size());
      if (is_new) processes_.push_back(StoppedProcess{.pid = pid});
      found |= is_new;
      StoppedProcess& process = processes_[known->second];
      for (pid_t tid : TRY(list_threads(pid))) {
        if (tids_.contains(tid) || (tid == pid && process.zombie)) continue;
        auto thread = SeizedThread::seize(tid);
        if (!thread && !TRY(has_ended(tid)))
          thread =
              TRY(in(fmt::format("pid {}: thread {}", pid, tid), reconsider(pid, tid, std::move(thread).error())));
        if (!thread) {
          if (tid == pid) process.zombie = found = true;
          continue;
        }
        TRY(thread->interrupt());
        tids_.insert(tid);
        process.threads.push_back({.hold = *std::move(thread)});
        fresh.emplace_back(known->second, process.threads.size() - 1);
        found = true;
      }
    }
    for (auto [process, index] : fresh) {
      StoppedThread& thread = processes_[process].threads[index];
      pid_t tid = thread.tid();
      if (!TRY(in(fmt::format("pid {}: thread {}", processes_[process].pid, tid), await_stop(thread, limit))))
        tids_.erase(tid);
    }
    forget_dead_threads();
    return found;
  }

  // Brings every thread to where its state can be carried. True if one has run for that, or died: it may have started
  // others.
  Result<bool> settle_all() {
    bool ran = false;
    for (auto& process : processes_) {
      if (process.zombie || std::ranges::all_of(process.threads, &StoppedThread::settled)) continue;
      process.status = TRY(parse_status(TRY(read_file(process.proc("status")))));
      process.areas = TRY(parse_maps(TRY(read_file(process.proc("maps")))));
      process.memory = TRY(RemoteMemory::open(process.pid));
      for (auto& thread : process.threads) {
        if (thread.settled) continue;
        pid_t tid = thread.tid();
        auto result = read_and_settle(process, thread);
        thread.settled = true;
        if (thread.tid() == 0) {
          tids_.erase(tid);
          ran = true;
        } else if (!result && result.error().refusal) {
          thread.unsettled = result.error().what;
        } else {
          ran |= TRY(in(fmt::format("pid {}: thread {}", process.pid, tid), std::move(result)));
        }
      }
    }
    forget_dead_threads();
    return ran;
  }

 private:
  static Result<bool> read_and_settle(StoppedProcess& process, StoppedThread& thread) {
    thread.registers = TRY(thread.hold.registers());
    thread.mask = TRY(thread.hold.signal_mask());
    thread.xstate = TRY(thread.hold.xstate());
    thread.rseq = TRY(thread.hold.rseq());
    return settle(process, thread);
  }
  void forget_dead_threads() {
    for (auto& process : processes_) std::erase_if(process.threads, [](auto& thread) { return thread.tid() == 0; });
  }

  std::vector<StoppedProcess>& processes_;
  std::unordered_map<pid_t, size_t> processes_by_pid_;
  std::unordered_set<pid_t> tids_;
};

// A stop of job control is one of the whole process; one that has begun ends at once where it is let go on.
Result<> check_stops(const std::vector<StoppedProcess>& processes) {
  for (const auto& process : processes)
    for (const auto& thread : process.threads)
      if (thread.stop_signal != process.threads.front().stop_signal)
        return fail(fmt::format("pid {}: is just being stopped", process.pid), EAGAIN);
  return {};
}

// Zombies that have been waited for meanwhile, or that somebody else is to wait for.
void forget_reaped(std::vector<StoppedProcess>& processes) {
  std::unordered_set<pid_t> living;
  for (const auto& process : processes)
    if (!process.threads.empty()) living.insert(process.pid);
  std::erase_if(processes, [&](const StoppedProcess& process) {
    if (!process.threads.empty()) return false;
    auto text = read_file(process.proc("stat"));
    auto stat = text ? parse_stat(*text) : Result<StatLine>(fail("gone"));
    return !stat || stat->state != 'Z' || !living.contains(stat->ppid);
  });
}

Result<> read_outside(StoppedProcess& process) {
  process.stat = TRY(parse_stat(TRY(read_file(process.proc("stat")))));
  process.status = TRY(parse_status(TRY(read_file(process.proc("status")))));
  if (process.zombie) return {};
  process.areas = TRY(parse_smaps(TRY(read_file(process.proc("smaps")))));
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
  for (size_t index : order) ordered.push_back(std::move(processes[index]));
  processes = std::move(ordered);
  return {};
}

}  // namespace

Result<FrozenTree> FrozenTree::freeze(const std::string& cgroup, pid_t root) {
  auto give_up = Clock::now() + kFreezeLimit;
  for (auto pause = 10ms;; pause *= 2) {
    FrozenTree tree;
    auto stopped = [&]() -> Result<> {
      // A thread that is not stopped yet may start others, so we look again until nothing is new.
      Seizure seizure(tree.processes_);
      do {
        for (bool found = true; found;) {
          auto pids = TRY(cgroup.empty() ? list_tree(root) : list_cgroup_with_zombies(cgroup));
          found = TRY(seizure.seize_more(pids, Clock::now() + kStopLimit));
        }
      } while (TRY(seizure.settle_all()));
      forget_reaped(tree.processes_);
      return check_stops(tree.processes_);
    }();
    if (!stopped) {
      if (stopped.error().code != EAGAIN || Clock::now() > give_up) return std::unexpected(stopped.error());
      release(tree.processes_);
      std::this_thread::sleep_for(pause);
      continue;
    }
    if (tree.processes_.empty()) return fail("no process to checkpoint", ESRCH);
    for (auto& process : tree.processes_) TRY(in(fmt::format("pid {}", process.pid), read_outside(process)));
    TRY(put_parents_first(tree.processes_));
    return tree;
  }
}

Result<> FrozenTree::kill_with_us() {
  for (auto& process : processes_)
    for (auto& thread : process.threads) TRY(thread.hold.kill_with_us());
  return {};
}

Result<> FrozenTree::kill() {
  for (auto& process : processes_)
    if (::kill(process.pid, SIGKILL) && errno != ESRCH) return fail_errno(fmt::format("kill {}", process.pid));
  for (auto& process : processes_) {
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
    while (::access(process.proc("stat").c_str(), F_OK) == 0) {
      bool dead = TRY(has_ended(process.pid));
      if (Clock::now() > now + (dead ? reaping_limit(process.pid) : kFreezeLimit)) {
        if (dead) break;
        return fail(fmt::format("pid {} does not die", process.pid));
      }
      std::this_thread::sleep_for(200us);
    }
  processes_.clear();
  return {};
}

}  // namespace ks::engine
