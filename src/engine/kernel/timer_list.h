// SPDX-License-Identifier: LGPL-2.1-or-later
// /proc/timer_list: every high-resolution timer that is armed, of the whole machine. It does not tell whose.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace ks::engine {

struct ArmedTimer {
  int clock = 0;  // CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME or CLOCK_TAI, of the initial namespace
  std::string_view function;  // what it calls, in the text
  int64_t due = 0;            // nanoseconds; it may be late by its slack

  auto operator<=>(const ArmedTimer&) const = default;
};

// When the list was made, in nanoseconds of the initial namespace's CLOCK_MONOTONIC; -1: it does not say.
int64_t time_of_list(std::string_view text);

// Lines that are none of this are passed over: the text is meant for people and differs between kernels.
std::vector<ArmedTimer> parse_timer_list(std::string_view text);

}  // namespace ks::engine
