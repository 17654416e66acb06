// SPDX-License-Identifier: LGPL-2.1-or-later
// The instructions that are written over functions of a vDSO.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ks::engine {

// Goes on at `target`, with every register but r11 (which a call may change) as it was.
std::vector<std::byte> jump_code(uint64_t target);

// A function that makes one system call with the arguments it was called with.
std::vector<std::byte> system_call_code(uint32_t number);

// getrandom() of the vDSO when the system call has to do: the request for the size of its state (opaque_len
// of all ones, which no caller can do without) is refused with ENOSYS.
std::vector<std::byte> getrandom_code(uint32_t number);

}  // namespace ks::engine
