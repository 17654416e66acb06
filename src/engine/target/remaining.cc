// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/remaining.h"

#include <fmt/format.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <set>

#include "base/file.h"
#include "base/text.h"
#include "engine/kernel/timer_list.h"
#include "engine/target/companion.h"
#include "engine/target/moves.h"

namespace ks::engine {

namespace {

constexpr int64_t kMillisecond = 1'000'000;
constexpr int64_t kShortest = 50 * kMillisecond;
constexpr int64_t kMostSlack =
    200 * kMillisecond;  // that the kernel adds to a time-out, or the user (PR_SET_TIMERSLACK)
constexpr int kMostAttempts = 20, kLead = 2;

Result<int64_t> read_time(const StoppedProcess& process, uint64_t address) {
  auto time = TRY(process.memory->read<timespec>({address}));
  return time.tv_sec * 1000 * kMillisecond + time.tv_nsec;
}

// The whole time-out of the interrupted call; 0: it is absolute, or there is none.
Result<int64_t> relative_timeout(const StoppedProcess& process, const Registers& registers) {
  uint64_t time = 0;
  switch (syscall_number(registers)) {
    case SYS_poll:
      return std::max(static_cast<int32_t>(syscall_argument(registers, 2)), 0) * kMillisecond;
    case SYS_futex:
      if ((syscall_argument(registers, 1) & FUTEX_CMD_MASK) != FUTEX_WAIT) return 0;
      time = syscall_argument(registers, 3);
      break;
    case SYS_nanosleep:
      if (!syscall_argument(registers, 1)) time = syscall_argument(registers, 0);
      break;
    case SYS_clock_nanosleep:
      // A CPU-time clock stands still while the thread is stopped, and has no such timer.
      if (!syscall_argument(registers, 3) && static_cast<int>(syscall_argument(registers, 0)) >= 0)
        time = syscall_argument(registers, 2);
      break;
  }
  if (!time) return 0;
  auto read = read_time(process, time);
  return read ? *read : 0;  // it may be gone by now
}

int64_t own_time() { return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1); }

// Of /proc/PID/task/TID/sched, which is there with CONFIG_SCHED_DEBUG: when the thread began to run or was looked at
// last while it did, and how often it has gone to sleep. The former is forgotten (0) when a thread is given to
// another CPU, which since 6.12 happens to sleeping ones too (DELAY_DEQUEUE).
struct Schedule {
  int64_t ran = 0;
  uint64_t switches = 0;
};

std::optional<Schedule> read_schedule(const std::string& path) {
  auto text = read_file(path);
  if (!text) return std::nullopt;
  auto value = [&](std::string_view name) -> std::optional<std::string_view> {
    size_t at = text->find(name);
    if (at == text->npos) return std::nullopt;
    std::string_view line = std::string_view(*text).substr(at + 1);
    line = take_until(line, '\n');
    take_until(line, ':');
    return trim(line);
  };
  auto ran = value("\nse.exec_start "), switches = value("\nnr_voluntary_switches ");
  if (!ran || !switches) return std::nullopt;
  // Milliseconds with six digits behind the point.
  auto milliseconds = parse_number<int64_t>(take_until(*ran, '.')), rest = parse_number<int64_t>(*ran);
  auto count = parse_number<uint64_t>(*switches);
  if (!milliseconds || !rest || !count) return std::nullopt;
  return Schedule{.ran = *milliseconds * kMillisecond + *rest, .switches = *count};
}

std::string task_file(pid_t pid, pid_t tid, std::string_view name) {
  return proc_path(pid, fmt::format("task/{}/{}", tid, name));
}

// When sleeping threads are to be woken, by the clock that stands still in a suspend, as the list has it.
struct Wakeups {
  int64_t now = -1;     // of the list
  int64_t read_at = 0;  // by our clock
  std::vector<int64_t> due;
};

Result<Wakeups> read_wakeups() {
  Wakeups wakeups{.read_at = own_time()};
  std::string text = TRY(read_file("/proc/timer_list"));
  wakeups.now = time_of_list(text);
  for (const ArmedTimer& timer : parse_timer_list(text))
    if (timer.clock == CLOCK_MONOTONIC && timer.function == "hrtimer_wakeup") wakeups.due.push_back(timer.due);
  return wakeups;
}

// The list is not made in one go: under load it lacks some that are there. So a timer is the thread's own if it has
// been seen clearly more often than any other while the thread waited, and never while it did not.
class Search {
 public:
  void waits(const Wakeups& list, int64_t latest) {
    for (int64_t due : std::set(list.due.begin(), list.due.end()))
      if (due > list.now && due <= latest) ++seen_[due];
  }
  void stands(const Wakeups& list) { others_.insert(list.due.begin(), list.due.end()); }

  // Nothing: none stands out.
  std::optional<int64_t> found() const {
    int most = 0, next = 0;
    int64_t found = 0;
    for (const auto& [due, times] : seen_) {
      if (others_.contains(due)) continue;
      next = std::max(next, std::min(times, most));
      if (times > most) found = due;
      most = std::max(most, times);
    }
    if (most < next + kLead) return std::nullopt;
    return found;
  }

 private:
  std::map<int64_t, int> seen_;
  std::set<int64_t> others_;
};

}  // namespace

Result<bool> measure_wait(const StoppedProcess& process, StoppedThread& thread) {
  thread.wait_measured = true;
  if (thread.stop_signal || !in_syscall(thread.registers) || syscall_result(thread.registers) != -kRestartBlock)
    return false;
  int64_t whole = TRY(relative_timeout(process, thread.registers));
  if (whole < kShortest) return false;
  auto number = thread.registers.orig_rax;
  Search search;
  for (int attempt = 0; attempt < kMostAttempts && !thread.wait_left; ++attempt) {
    auto before = read_wakeups();
    if (!before || before->now < 0) return attempt > 0;  // a kernel without that list
    search.stands(*before);
    Wakeups during;
    auto look = [&]() -> Result<> {
      during = TRY(read_wakeups());
      return {};
    };
    TRY(follow_call(process, thread, look));
    if (!in_syscall(thread.registers) || syscall_result(thread.registers) != -kRestartBlock)
      return true;                       // it is over
    thread.registers.orig_rax = number;  // it shows as restart_syscall(2)
    search.waits(during, during.now + whole + kMostSlack);
    int64_t passed = during.now + (thread.stopped_at - during.read_at);  // when it was stopped, as the list counts
    if (auto due = search.found()) thread.wait_left = std::max<int64_t>(*due - passed, 0);
  }
  return true;
}

std::optional<EventWait> find_event_wait(pid_t pid, pid_t tid) {
  auto text = read_file(task_file(pid, tid, "syscall"));  // "232 0x3 0x7f4148000ba0 0x3ff 0x4e20 ...", or "running"
  if (!text) return std::nullopt;
  auto words = split_words(*text);
  if (words.size() < 5) return std::nullopt;
  auto number = parse_number<long>(words[0]);
  if (!number || !is_event_wait(*number)) return std::nullopt;
  std::string_view argument = words[4];
  take_until(argument, 'x');
  auto time_out = parse_number<uint64_t>(argument, 16);
  if (!time_out) return std::nullopt;
  EventWait wait{.number = *number, .time_out = static_cast<int>(*time_out)};
  if (wait.time_out * kMillisecond < kShortest) return std::nullopt;
  // Each CPU has a clock of its own for this.
  auto stat = read_file(task_file(pid, tid, "stat"));
  auto parsed = stat ? parse_stat(*stat) : Result<StatLine>(fail("gone"));
  if (!parsed) return std::nullopt;
  Companion companion;
  companion.follow_to(parsed->processor);
  auto its = read_schedule(task_file(pid, tid, "sched")), ours = read_schedule("/proc/thread-self/sched");
  if (!its || !its->ran || !ours || ::sched_getcpu() != parsed->processor) return std::nullopt;
  wait.began = own_time() - std::max<int64_t>(ours->ran - its->ran, 0);
  wait.switches = its->switches;
  return wait;
}

Result<> shorten_event_wait(pid_t pid, StoppedThread& thread) {
  const EventWait& wait = *thread.event_wait;
  Registers& registers = thread.registers;
  if (thread.stop_signal || syscall_number(registers) != wait.number ||
      syscall_result(registers) != -kRestartNoHand || event_time_out(registers) != wait.time_out)
    return {};
  // Our stop is the one time that it has slept since.
  auto schedule = read_schedule(task_file(pid, thread.tid(), "sched"));
  if (!schedule || schedule->switches != wait.switches + 1) return {};
  int64_t left = wait.time_out * kMillisecond - (thread.stopped_at - wait.began);
  thread.wait_left = std::clamp<int64_t>(left, 0, wait.time_out * kMillisecond);
  set_event_time_out(registers, static_cast<int>((*thread.wait_left + kMillisecond - 1) / kMillisecond));
  return thread.hold.set_registers(registers);
}

}  // namespace ks::engine
