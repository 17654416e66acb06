// SPDX-License-Identifier: LGPL-2.1-or-later
// ELF (elf(5)), as far as files and the vDSO are told apart by it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace ks::engine {

// The part of `image` that is there, or nothing.
std::optional<std::span<const std::byte>> part_of(std::span<const std::byte> image, uint64_t offset, uint64_t size);

// The GNU build id, hexadecimal, among the notes of a segment; empty where there is none.
Result<std::string> find_build_id(std::span<const std::byte> notes);

// What lies in the section of that name (64-bit, with its table of sections).
Result<std::span<const std::byte>> find_section(std::span<const std::byte> image, std::string_view name);

// Of an open file; empty of one that is not 64-bit ELF or has none. Reads nothing but headers and notes.
std::string read_build_id(int fd);

}  // namespace ks::engine
