// SPDX-License-Identifier: LGPL-2.1-or-later
// What lies in the kernel's memory, read by programs that it runs for us (iterator.h).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "engine/kernel/kernel_types.h"

namespace ks::engine {

// 8 bytes from each address, one after the other; an error where nothing lies.
Result<std::vector<uint64_t>> read_kernel(const KernelTypes& types, std::span<const uint64_t> addresses);
// The word at an address, the one at the address that this is, and so on: up to the first that is 0, or a few dozen.
Result<std::vector<uint64_t>> follow_kernel(const KernelTypes& types, uint64_t address);

// How far from where a variable that each CPU has for itself seems to lie it does lie: for each CPU that there can
// be. kallsyms tells it only of kernels that are built so (CONFIG_KALLSYMS_ALL).
Result<std::vector<uint64_t>> offsets_of_cpus(const KernelTypes& types);

// "0-3,8", of /sys/devices/system/cpu.
Result<std::vector<uint32_t>> parse_cpus(std::string_view text);

}  // namespace ks::engine
