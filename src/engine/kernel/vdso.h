// SPDX-License-Identifier: LGPL-2.1-or-later
// The vDSO as an ELF image (vdso(7)), and how the text of one is turned into jumps to another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace ks::engine {

struct VdsoSymbol {
  std::string name;  // "__vdso_clock_gettime"
  uint64_t offset = 0, size = 0;
};

struct Vdso {
  std::string build_id;               // hexadecimal; survives redirect(), which leaves the note alone
  std::vector<VdsoSymbol> functions;  // one per address, the "__vdso_" name where it has several
};
Result<Vdso> parse_vdso(std::span<const std::byte> image);

// Bytes to write over an image.
struct VdsoPatch {
  uint64_t offset = 0;
  std::vector<std::byte> bytes;
};

// Turns every function of `before` into a jump to the one of the same name in `now`, which lies at
// `now_address`. A function that `now` lacks becomes the system call that it stands for. One that has no
// system call and whose text stands on its own is left as it is; any other is an error.
Result<std::vector<VdsoPatch>> redirect_vdso(const Vdso& before, const Vdso& now, uint64_t now_address);

// A value of an auxiliary vector (getauxval(3)), as /proc/PID/auxv has it; 0 where it has none.
uint64_t auxv_entry(std::string_view auxv, uint64_t type);

}  // namespace ks::engine
