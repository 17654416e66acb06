// SPDX-License-Identifier: LGPL-2.1-or-later
// The file of a kernel as boot loaders take it (bzImage; Documentation/arch/x86/boot.rst).
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "base/result.h"

namespace ks::engine {

struct BootImage {
  std::string release;  // as `uname -r` will say
  std::span<const std::byte> packed;
};

Result<BootImage> parse_boot_image(std::span<const std::byte> file);

// The kernel itself (vmlinux), which is ELF. Of what packs kernels gzip, xz, zstd and lz4 are known.
Result<std::string> unpack_kernel(std::span<const std::byte> packed);

}  // namespace ks::engine
