// SPDX-License-Identifier: LGPL-2.1-or-later
// Other programs, run and waited for.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace ks::upgrade {

struct ProgramEnd {
  int status = 0;      // exit status; 128 + N where signal N ended it
  std::string output;  // both streams, cut at 64 KiB
};

// Looked for in PATH. An error where it could not be run at all.
Result<ProgramEnd> run_program(const std::vector<std::string>& arguments);

}  // namespace ks::upgrade
