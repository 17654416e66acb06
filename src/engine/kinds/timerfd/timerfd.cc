// SPDX-License-Identifier: LGPL-2.1-or-later
// timerfd_create(2): told by fdinfo (Documentation/filesystems/proc.rst, section 3.8). A timer keeps its time by the
// clock of the initial time namespace, whoever has set it; so we set it ourselves.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <thread>

#include "base/file.h"
#include "base/text.h"
#include "engine/kinds/kind.h"
#include "engine/timerfd.pb.h"

namespace ks::engine {

namespace {

constexpr std::string_view kName = "timerfd";
constexpr uint32_t kVersion = 1;
constexpr unsigned long kSetTicks = _IOW('T', 0, uint64_t);  // TFD_IOC_SET_TICKS
constexpr int kMostReadings = 100;
constexpr int64_t kCloseReading = 50'000;  // nanoseconds
constexpr auto kInterruptDelay = std::chrono::milliseconds(2);

bool owns(const OpenFile& file) { return file.link == "anon_inode:[timerfd]"; }

struct State {
  int clock = 0;
  uint64_t ticks = 0;
  unsigned settime_flags = 0;
  int64_t left = 0, interval = 0;
};

// "(3, 999999999)": seconds and nanoseconds
std::optional<int64_t> parse_pair(std::string_view text) {
  if (!text.starts_with('(') || !text.ends_with(')')) return std::nullopt;
  text = text.substr(1, text.size() - 2);
  auto seconds = parse_number<int64_t>(trim(take_until(text, ','))), nanoseconds = parse_number<int64_t>(trim(text));
  if (!seconds || !nanoseconds) return std::nullopt;
  return *seconds * kSecond + *nanoseconds;
}

Result<State> parse_state(const FdInfo& info) {
  State state;
  auto left = parse_pair(info.value("it_value").value_or("")),
       interval = parse_pair(info.value("it_interval").value_or(""));
  if (!left || !interval || !read_number(info.value("clockid").value_or(""), state.clock) ||
      !read_number(info.value("ticks").value_or(""), state.ticks) ||
      !read_number(info.value("settime flags").value_or(""), state.settime_flags, 8))
    return fail("fdinfo does not tell its timer");
  state.left = *left;
  state.interval = *interval;
  return state;
}

// The clock by which the kernel really counts: a relative time is not touched by a change of the wall clock, but for
// alarms, whose own clocks cannot be read where no device would wake the machine.
int due_clock(const State& state) {
  switch (state.clock) {
    case CLOCK_REALTIME_ALARM:
      return CLOCK_REALTIME;
    case CLOCK_BOOTTIME_ALARM:
      return CLOCK_BOOTTIME;
    case CLOCK_REALTIME:
      return state.settime_flags & TFD_TIMER_ABSTIME ? CLOCK_REALTIME : CLOCK_MONOTONIC;
  }
  return state.clock;
}

// With the time of the reading, as exactly as it can be had: the kernel tells what is left, not when it is due. It is
// rather too late than too early, as no timer may be.
Result<State> read_state(const Dumping& dumping, const OpenFile& file, int64_t& now) {
  std::string path = proc_path(file.pid, fmt::format("fdinfo/{}", file.fd));
  State best;
  int64_t closest = std::numeric_limits<int64_t>::max();
  for (int reading = 0; closest > kCloseReading && reading < kMostReadings; ++reading) {
    int64_t before = TRY(read_clock(CLOCK_MONOTONIC, {}));
    auto text = TRY(read_file(path));
    State state = TRY(parse_state(TRY(parse_fdinfo(text))));
    int64_t time = TRY(read_clock(due_clock(state), dumping.clock_offsets));
    int64_t took = TRY(read_clock(CLOCK_MONOTONIC, {})) - before;
    if (took >= closest) continue;
    best = state;
    now = time;
    closest = took;
  }
  return best;
}

// A timer shows this when it is not armed, and for the moment between running out and its interrupt, too.
bool is_silent(const State& state) { return !state.left && !state.ticks; }

Result<> dump_one(Dumping& dumping, const OpenFile& file, bool was_silent) {
  State state;
  int64_t now = 0;
  for (int reading = 0;; ++reading) {
    state = TRY(read_state(dumping, file, now));
    if (is_silent(state) && !was_silent && reading < kMostReadings) {
      std::this_thread::sleep_for(kInterruptDelay);
      continue;
    }
    // A repeated timer that has expired stands still until it is read; timerfd_gettime(2) counts what it has missed
    // and sets it going again, as a read would. A poller may be woken once more, which nobody can rely on not to
    // happen.
    bool stands = state.ticks && !state.left && state.interval;
    if (!stands || !dumping.image || reading == kMostReadings) break;
    Fd mine = TRY(file.fetch());
    itimerspec unused;
    if (::timerfd_gettime(mine.get(), &unused)) return fail_errno("timerfd_gettime");
  }
  if (state.ticks && state.left && !state.interval)
    // Expired and armed at once: only a change of the wall clock does that (TFD_TIMER_CANCEL_ON_SET).
    dumping.refuse(file.pid, file.object(), for_now("has a change of the wall clock to report"));
  image::TimerFd out;
  out.set_id(file.id);
  out.set_flags(static_cast<uint32_t>(file.flags()));
  out.set_clock(state.clock);
  out.set_settime_flags(state.settime_flags);
  out.set_ticks(state.ticks);
  out.set_interval(state.interval);
  out.set_due_clock(due_clock(state));
  if (state.left)
    out.set_due(now + state.left);
  else if (state.ticks && state.interval)
    out.set_due(now + state.interval);
  dumping.put_file(kName, kVersion, out);
  return {};
}

Result<> dump(Dumping& dumping, std::span<const OpenFile> files) {
  std::vector<bool> silent;
  int64_t now = 0;
  for (const OpenFile& file : files)
    silent.push_back(is_silent(TRY(in(file.object(), read_state(dumping, file, now)))));
  // One pause for all of them: who is silent before and after it is not armed.
  if (std::ranges::find(silent, true) != silent.end()) std::this_thread::sleep_for(kInterruptDelay);
  for (size_t i = 0; i < files.size(); ++i) TRY(in(files[i].object(), dump_one(dumping, files[i], silent[i])));
  return {};
}

Result<> arm(int fd, const Restoring& restoring, const image::TimerFd& file, int64_t now) {
  int64_t due = file.due();
  uint64_t ticks = file.ticks();
  // Counted here rather than by the kernel, whose clock may not reach back so far.
  if (due && due <= now && file.interval()) {
    int64_t expired = (now - due) / file.interval() + 1;
    ticks += static_cast<uint64_t>(expired);
    due += expired * file.interval();
  }
  // An absolute time as our own clocks have it.
  bool absolute = file.settime_flags() & TFD_TIMER_ABSTIME;
  int64_t value = absolute ? due - restoring.clock_offsets.of(file.clock()) : due - now;
  itimerspec setting{.it_interval = to_timespec(file.interval()), .it_value = {}};
  if (due) setting.it_value = to_timespec(std::max<int64_t>(value, 1));
  if (::timerfd_settime(fd, static_cast<int>(file.settime_flags()), &setting, nullptr))
    return fail_errno("timerfd_settime");
  if (ticks && ::ioctl(fd, kSetTicks, &ticks)) return fail_errno("setting its count");
  return {};
}

Result<Fd> make_one(Restoring& restoring, const image::TimerFd& file) {
  Fd fd(::timerfd_create(file.clock(), TFD_CLOEXEC));
  if (!fd) return fail_errno("timerfd_create");
  for (int attempt = 0;; ++attempt) {
    int64_t now = TRY(read_clock(file.due_clock(), restoring.clock_offsets));
    TRY(arm(fd.get(), restoring, file, now));
    // What passes before it is armed makes it late, and an expiration before the count is set would be lost.
    int64_t took = TRY(read_clock(file.due_clock(), restoring.clock_offsets)) - now;
    if (took < kCloseReading || attempt == kMostReadings) break;
  }
  if (::fcntl(fd.get(), F_SETFL, static_cast<int>(file.flags()))) return fail_errno("flags");
  return fd;
}

Result<Fds> make(Restoring& restoring, std::span<const Envelope> envelopes) {
  return make_each(restoring, envelopes, make_one);
}

}  // namespace

extern const Kind kTimerfd;
const Kind kTimerfd{.name = kName, .version = kVersion, .owns = owns, .dump = dump, .make = make};

}  // namespace ks::engine
