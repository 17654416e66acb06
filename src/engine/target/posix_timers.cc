// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/posix_timers.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/file.h"
#include "base/text.h"
#include "engine/target/process.h"

namespace ks::engine {

namespace {

bool read_signal(std::string_view text, PosixTimer& timer) {  // "34/0000000000000007"
  return read_number(take_until(text, '/'), timer.signal) && read_number(text, timer.value, 16);
}

bool read_notify(std::string_view text, PosixTimer& timer) {  // "signal/tid.4711"
  auto how = take_until(text, '/'), whom = take_until(text, '.');
  if (how == "signal")
    timer.notify = SIGEV_SIGNAL;
  else if (how == "none")
    timer.notify = SIGEV_NONE;
  else if (how == "thread")
    timer.notify = SIGEV_THREAD;
  else
    return false;
  if (whom == "tid") timer.notify |= SIGEV_THREAD_ID;
  return read_number(text, timer.target);
}

}  // namespace

bool PosixTimer::queued(const siginfo_t& info) const {
  return info.si_code == SI_TIMER && info.si_signo == signal && info.si_timerid == id &&
         reinterpret_cast<uint64_t>(info.si_value.sival_ptr) == value;
}

bool queued_by_any(const std::vector<PosixTimer>& timers, const siginfo_t& info) {
  return std::ranges::any_of(timers, [&](const PosixTimer& timer) { return timer.queued(info); });
}

Result<std::vector<PosixTimer>> parse_posix_timers(std::string_view text) {
  std::vector<PosixTimer> timers;
  for (auto line : split(text, '\n')) {
    auto value = line;
    auto key = take_until(value, ':');
    value = trim(value);
    bool good = true;
    if (key == "ID")
      good = read_number(value, timers.emplace_back().id);
    else if (timers.empty())
      good = false;
    else if (key == "signal")
      good = read_signal(value, timers.back());
    else if (key == "notify")
      good = read_notify(value, timers.back());
    else if (key == "ClockID")
      good = read_number(value, timers.back().clock);
    if (!good) return fail(fmt::format("a timer cannot be read: \"{:.80}\"", line));
  }
  std::ranges::sort(timers, {}, &PosixTimer::id);
  return timers;
}

Result<std::vector<PosixTimer>> read_posix_timers(pid_t pid) {
  std::string path = proc_path(pid, "timers");
  return in(path, parse_posix_timers(TRY(read_file(path))));
}

}  // namespace ks::engine
