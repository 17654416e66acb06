// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/image/file_part.h"

#include <sys/mman.h>

#include <utility>

#include "base/file.h"

namespace ks::engine {

Result<FilePart> FilePart::open(int fd, uint64_t offset, size_t size, const std::string& name) {
  FilePart part;
  void* at = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, static_cast<off_t>(offset));
  if (at != MAP_FAILED) {
    part.bytes_ = {static_cast<const std::byte*>(at), size};
    if (::madvise(at, size, MADV_POPULATE_READ) == 0) return part;
  }
  // Where it cannot be mapped, or to learn what is wrong with it.
  FilePart copy;
  copy.copy_.resize(size);
  TRY(read_exactly_at(fd, copy.copy_, offset, name));
  copy.bytes_ = copy.copy_;
  return copy;
}

FilePart::FilePart(FilePart&& other) noexcept
    : bytes_(std::exchange(other.bytes_, {})), copy_(std::move(other.copy_)) {}

FilePart& FilePart::operator=(FilePart&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  std::swap(copy_, other.copy_);
  return *this;
}

FilePart::~FilePart() {
  if (copy_.empty() && !bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

}  // namespace ks::engine
