// SPDX-License-Identifier: LGPL-2.1-or-later
// Segments of System V shared memory (shmget(2)), of the IPC namespace that this program is in.
#pragma once

#include <sys/stat.h>

#include <string>
#include <utility>

#include "base/fd.h"
#include "base/result.h"
#include "engine/carried_files.pb.h"

namespace ks::engine {

// The segment whose file a process has attached: the number of its inode is the segment's.
Result<> describe_segment(const std::string& path, const struct stat& stat, image::CarriedFileList::File& file);

// A segment under the id and the key that it had. It goes with this object unless it is kept, or was there already.
class RemadeSegment {
 public:
  // The very same one if it is still there and nobody has attached it, as after a swap that did not happen.
  static Result<RemadeSegment> make(const image::CarriedFileList::File& file);
  RemadeSegment(RemadeSegment&& other) noexcept
      : id_(std::exchange(other.id_, -1)), fresh_(std::exchange(other.fresh_, false)) {}
  RemadeSegment& operator=(RemadeSegment&&) = delete;
  ~RemadeSegment();

  // Its content, as a file to write to.
  Result<Fd> open() const;
  // When all have attached it.
  Result<> finish(const image::CarriedFileList::SystemV& from);
  void keep() { fresh_ = false; }

 private:
  RemadeSegment(int id, bool fresh) : id_(id), fresh_(fresh) {}
  int id_;
  bool fresh_;
};

}  // namespace ks::engine
