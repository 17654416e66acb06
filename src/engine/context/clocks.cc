// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/clocks.h"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>

#include "base/file.h"
#include "base/text.h"
#include "engine/target/process.h"

namespace ks::engine {

namespace {

constexpr int64_t kSecond = 1'000'000'000;

Result<int64_t> read_clock(clockid_t clock) {
  timespec now;
  if (::clock_gettime(clock, &now)) return fail_errno("clock_gettime");
  return now.tv_sec * kSecond + now.tv_nsec;
}

struct Offsets {
  int64_t monotonic = 0, boottime = 0;
};

// Relative to the initial namespace, also where namespaces are nested.
Result<Offsets> read_offsets(const std::string& path) {
  Offsets offsets;
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

// As the initial namespace sees them.
Result<Clocks> read_initial() {
  Offsets own = TRY(read_offsets("/proc/self/timens_offsets"));
  Clocks clocks;
  clocks.monotonic = TRY(read_clock(CLOCK_MONOTONIC)) - own.monotonic;
  clocks.boottime = TRY(read_clock(CLOCK_BOOTTIME)) - own.boottime;
  clocks.realtime = TRY(read_clock(CLOCK_REALTIME));
  return clocks;
}

// The kernel wants the nanoseconds positive.
std::string offset_line(const char* clock, int64_t nanoseconds) {
  int64_t seconds = nanoseconds / kSecond, rest = nanoseconds % kSecond;
  if (rest < 0) {
    --seconds;
    rest += kSecond;
  }
  return fmt::format("{} {} {}\n", clock, seconds, rest);
}

}  // namespace

Result<Clocks> read_clocks(pid_t pid) {
  Clocks clocks = TRY(read_initial());
  Offsets offsets = TRY(read_offsets(proc_path(pid, "timens_offsets")));
  clocks.monotonic += offsets.monotonic;
  clocks.boottime += offsets.boottime;
  return clocks;
}

Result<std::string> continuing_offsets(const Clocks& before) {
  Clocks now = TRY(read_initial());
  int64_t away = std::max<int64_t>(now.realtime - before.realtime, 0);  // the wall clock may have been set back
  return offset_line("monotonic", before.monotonic - now.monotonic) +
         offset_line("boottime", before.boottime + away - now.boottime);
}

}  // namespace ks::engine
