// SPDX-License-Identifier: LGPL-2.1-or-later
// What a parser is fed with. Each parser has a source that defines both functions, and is built twice: with
// replay.cc, which meson does, and with libfuzzer.cc, which tests/fuzz/run does.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

namespace ks::fuzz {

// Parses `input`, which may be anything, and aborts where what comes out breaks a promise.
void run(std::string_view input);

// Inputs as they come in practice, to start from.
std::vector<std::string> seeds();

inline void require(bool holds, const char* promise) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", promise);
  std::abort();
}

}  // namespace ks::fuzz
