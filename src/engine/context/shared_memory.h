// SPDX-License-Identifier: LGPL-2.1-or-later
// Anonymous memory that processes share: one segment, however many areas show it.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "engine/image/store.h"

namespace ks::engine {

class SharedMemory {
 public:
  // `link` is a magic link of /proc/PID/map_files.
  Result<uint32_t> add(const std::string& link);
  // Writes what was added. Returns the bytes of content.
  Result<uint64_t> dump(ImageWriter& image) const;

 private:
  std::vector<std::string> links_;
  std::map<std::pair<dev_t, ino_t>, uint32_t> by_inode_;
};

// Every segment of an image, made and filled, by id.
Result<std::map<uint32_t, Fd>> make_shared_memory(const ImageReader& image);

}  // namespace ks::engine
