// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "engine/image/store.h"

namespace ks::engine {

// What is done with a part of a file of raw bytes, which lies at this offset. A helper may leave the end of it to the
// caller; it returns how much it has used.
enum class Reader { caller, helper };
using UseBytes = std::function<Result<size_t>(Reader who, uint64_t offset, std::span<const std::byte>)>;

// Reads a file of exactly this many bytes, and compares its checksum in the end. Two threads read it side by side,
// and each uses what it has read; so `use` is called by both, for several parts at once, which come in no order.
Result<> read_blob(const ImageReader& image, const std::string& name, uint64_t bytes, const UseBytes& use);

}  // namespace ks::engine
