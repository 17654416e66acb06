// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/timer_list.h"

#include <time.h>

#include "base/text.h"

namespace ks::engine {

int64_t time_of_list(std::string_view text) {
  constexpr std::string_view kNow = "\nnow at ";
  size_t at = text.find(kNow);
  if (at == text.npos) return -1;
  text.remove_prefix(at + kNow.size());
  int64_t now = -1;
  return read_number(take_until(text, ' '), now) ? now : -1;
}

std::vector<ArmedTimer> parse_timer_list(std::string_view text) {
  // By the bases' index; the same four again for timers that expire in a softirq.
  constexpr int kClocks[] = {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME, CLOCK_TAI};
  constexpr std::string_view kExpires = "# expires at ";
  std::vector<ArmedTimer> timers;
  int clock = -1;
  std::string_view function;
  while (!text.empty()) {
    auto line = trim(take_until(text, '\n'));
    if (line.starts_with(".index:")) {
      unsigned index = 0;
      clock = read_number(trim(line.substr(7)), index) ? kClocks[index % 4] : -1;
    } else if (line.starts_with('#') &&
               !line.starts_with(kExpires)) {  // "#3: <0000000006662b2b>, hrtimer_wakeup, S:01"
      take_until(line, ',');
      function = trim(take_until(line, ','));
    } else if (line.starts_with(kExpires)) {  // "# expires at 1482861890839-1482861940839 nsecs [in ...]"
      line.remove_prefix(kExpires.size());
      ArmedTimer timer{.clock = clock, .function = function};
      if (clock >= 0 && read_number(take_until(line, '-'), timer.due)) timers.push_back(timer);
    }
  }
  return timers;
}

}  // namespace ks::engine
