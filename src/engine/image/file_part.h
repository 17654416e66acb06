// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace ks::engine {

// Some bytes of a file. They are the page cache's own, mapped, where the file system can do so: a copy would cost
// more than checksum and use together.
//
// Errors of the disk are found here, not at the first access. (A page that the kernel drops again meanwhile, and
// cannot read a second time, is a SIGBUS.)
class FilePart {
 public:
  FilePart() = default;
  // `offset` is a multiple of the page size. The file does not shrink.
  static Result<FilePart> open(int fd, uint64_t offset, size_t size, const std::string& name);
  FilePart(FilePart&& other) noexcept;
  FilePart& operator=(FilePart&& other) noexcept;
  ~FilePart();

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::span<const std::byte> bytes_;
  std::vector<std::byte> copy_;  // empty: they are mapped
};

}  // namespace ks::engine
