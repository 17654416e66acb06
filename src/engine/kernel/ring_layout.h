// SPDX-License-Identifier: LGPL-2.1-or-later
// Where a kernel puts what of a ring of io_uring(7) a program shares with it. It tells a program once, which keeps
// the addresses.
#pragma once

#include <linux/io_uring.h>

#include <string>
#include <string_view>

#include "base/result.h"
#include "engine/kernel/kernel_types.h"

namespace ks::engine {

// What headers before 6.6 lack.
inline constexpr uint32_t kNoArray = 1u << 16;  // IORING_SETUP_NO_SQARRAY

// struct io_sqring_offsets and io_cqring_offsets: as io_uring_setup(2) tells them, and as a kernel with such types
// would for a ring of these sizes and flags.
std::string layout_of(const io_uring_params& params);
Result<std::string> expected_layout(const KernelTypes& types, const io_uring_params& params);

// Whether rings of the running kernel can be made under another one, as programs know them; a refusal says why not.
Result<> check_rings_under(const std::string& release, const KernelTypes& types);

// The parts of that. `older` is what runs.
Result<> check_succession(const KernelTypes& older, const KernelTypes& newer);
bool is_at_least(std::string_view release, std::string_view other);

}  // namespace ks::engine
