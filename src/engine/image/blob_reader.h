// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "engine/image/store.h"

namespace ks::engine {

// A file of raw bytes on its way back, from the start to the end. While the caller uses what it has, a thread reads
// on and adds up the checksum.
class BlobReader {
 public:
  static Result<BlobReader> open(const ImageReader& image, const std::string& name);
  BlobReader(BlobReader&&) noexcept;
  BlobReader& operator=(BlobReader&&) noexcept;
  ~BlobReader();

  // The next bytes, some and never more than `most`; good until the next call.
  Result<std::span<const std::byte>> next(size_t most);
  // After all has been read: compares size and checksum.
  Result<> finish();

 private:
  struct State;
  explicit BlobReader(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace ks::engine
