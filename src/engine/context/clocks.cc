// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/clocks.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/file.h"
#include "base/text.h"
#include "engine/target/process.h"

namespace ks::engine {

namespace {

constexpr int64_t kOneInstant = 2'000;
constexpr int kMostReadings = 1000;

// The kernel wants the nanoseconds positive.
std::string offset_line(const char* clock, int64_t nanoseconds) {
  int64_t seconds = nanoseconds / kSecond, rest = nanoseconds % kSecond;
  if (rest < 0) {
    --seconds;
    rest += kSecond;
  }
  return fmt::format("{} {} {}\n", clock, seconds, rest);
}

// Relative to the initial namespace, also where namespaces are nested.
Result<ClockOffsets> parse_offsets(const std::string& path) {
  ClockOffsets offsets;
  auto text = read_file(path);
  if (!text) return offsets;  // a kernel without time namespaces
  for (auto line : split(*text, '\n')) {
    auto words = split_words(line);
    if (words.size() != 3) return fail(path + ": not three words");
    auto seconds = parse_number<int64_t>(words[1]), nanoseconds = parse_number<int64_t>(words[2]);
    if (!seconds || !nanoseconds) return fail(path + ": not a number");
    int64_t value = *seconds * kSecond + *nanoseconds;
    if (words[0] == "monotonic") offsets.monotonic = value;
    if (words[0] == "boottime") offsets.boottime = value;
  }
  return offsets;
}

}  // namespace

int64_t ClockOffsets::of(clockid_t clock) const {
  switch (clock) {
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_MONOTONIC_COARSE:
      return monotonic;
    case CLOCK_BOOTTIME:
    case CLOCK_BOOTTIME_ALARM:
      return boottime;
  }
  return 0;
}

Result<ClockOffsets> read_offsets(pid_t pid) {
  ClockOffsets its = TRY(parse_offsets(proc_path(pid, "timens_offsets")));
  ClockOffsets own = TRY(parse_offsets("/proc/self/timens_offsets"));
  return ClockOffsets{.monotonic = its.monotonic - own.monotonic, .boottime = its.boottime - own.boottime};
}

Result<int64_t> read_clock(clockid_t clock, const ClockOffsets& offsets) {
  timespec now;
  if (::clock_gettime(clock, &now)) return fail_errno("clock_gettime");
  return from_timespec(now) + offsets.of(clock);
}

Result<Clocks> read_clocks(const ClockOffsets& offsets) {
  // All at one instant, as far as we are let: what passes between them would be lost or won by one clock.
  for (int reading = 0;; ++reading) {
    Clocks clocks{.monotonic = TRY(read_clock(CLOCK_MONOTONIC, offsets)),
                  .boottime = TRY(read_clock(CLOCK_BOOTTIME, offsets)),
                  .realtime = TRY(read_clock(CLOCK_REALTIME, offsets))};
    if (TRY(read_clock(CLOCK_MONOTONIC, offsets)) - clocks.monotonic < kOneInstant || reading == kMostReadings)
      return clocks;
  }
}

Result<ClockOffsets> continuing_offsets(const Clocks& before) {
  Clocks now = TRY(read_clocks({}));
  int64_t away = std::max<int64_t>(now.realtime - before.realtime, 0);  // the wall clock may have been set back
  return ClockOffsets{.monotonic = before.monotonic - now.monotonic,
                      .boottime = before.boottime + away - now.boottime};
}

Result<std::string> timens_offsets(const ClockOffsets& offsets) {
  ClockOffsets own = TRY(parse_offsets("/proc/self/timens_offsets"));
  return offset_line("monotonic", offsets.monotonic + own.monotonic) +
         offset_line("boottime", offsets.boottime + own.boottime);
}

}  // namespace ks::engine
