// SPDX-License-Identifier: LGPL-2.1-or-later
// Segments of System V shared memory (shmget(2)).
#pragma once

#include <sys/stat.h>

#include <string>
#include <utility>

#include "base/fd.h"
#include "base/result.h"
#include "engine/carried_files.pb.h"
#include "engine/context/ipc_guard.h"
#include "engine/kernel/system_v.h"

namespace ks::engine {

struct SegmentUse {
  const SystemVObject* object = nullptr;
  uint32_t name_space = 0;  // of IPC, by its id
};

// What objects of all types have, into a message of an image.
template <class Message>
void put_identity(uint32_t name_space, const SystemVObject& object, Message& out) {
  out.set_name_space(name_space);
  out.set_id(object.id);
  out.set_key(object.permissions.__key);
  out.set_uid(object.permissions.uid);
  out.set_gid(object.permissions.gid);
  out.set_creator_uid(object.permissions.cuid);
  out.set_creator_gid(object.permissions.cgid);
  out.set_changed(object.changed);
}

// The segment whose file lies at `path`, which tells the key that it was made with.
Result<> describe_segment(const SegmentUse& segment, const std::string& path, const struct stat& stat,
                          image::CarriedFileList::File& file);

// A segment that no process has attached, attached here for as long as this object lives. (To whoever asks, this
// program is then the last to have done so.)
class AttachedSegment {
 public:
  static Result<AttachedSegment> attach(const SystemVObject& object);
  AttachedSegment(AttachedSegment&& other) noexcept
      : at_(std::exchange(other.at_, nullptr)), link_(std::move(other.link_)) {}
  AttachedSegment& operator=(AttachedSegment&&) = delete;
  ~AttachedSegment();
  const std::string& link() const { return link_; }  // a magic link to its file

 private:
  explicit AttachedSegment(void* at) : at_(at) {}
  void* at_;
  std::string link_;
};

// A segment under the id and the key that it had, as a file to write its content to; or the very same one, if it is
// still there and nobody has attached it, as after a swap that did not happen.
Result<Fd> remake_segment(const image::CarriedFileList::File& file, const MadeNamespaces& namespaces,
                          IpcGuard& guard);
// When all have attached it.
Result<> finish_segment(const image::CarriedFileList::SystemV& from, const MadeNamespaces& namespaces);

}  // namespace ks::engine
