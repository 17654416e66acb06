// SPDX-License-Identifier: LGPL-2.1-or-later
// The files behind executables and mappings. They are named, not copied: an image records which file it was, and
// a restore takes only the very same one. So that an upgrade of its package between the two does not matter, the
// image directory holds a hard link to each where it lies on the same file system.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "engine/context/carried_files.h"
#include "engine/context/named_file.h"
#include "engine/image/store.h"

namespace ks::engine {

struct MappedFile {
  uint32_t id = 0;
  std::string path;  // in the mount namespace of the process
  uint64_t inode = 0, bytes = 0;
  int64_t modified_seconds = 0, modified_nanoseconds = 0;
  uint32_t mode = 0;
  bool shared = false;               // shows what is in the file by then
  bool writable = false;             // a shared mapping that can be written
  std::string build_id;              // of an executable or a library that has one
  std::optional<uint32_t> carried;   // its content is part of the image
  std::optional<FileHandle> handle;  // no path leads to it
  bool refilled = false;             // a copy of it lies there by then (DumpOptions::refilled)
};

class MappedFiles {
 public:
  // `link` is a magic link to the open file (/proc/PID/exe, /proc/PID/map_files/...). Refuses a file that cannot be
  // found again.
  Result<uint32_t> add(const MountView& view, const std::string& link, const std::string& path, bool shared,
                       bool writable, bool refilled, std::optional<uint32_t> carried);
  // Writes what was added.
  Result<> dump(ImageWriter& image) const;

 private:
  struct Known {
    MappedFile file;
    std::string link;
  };
  std::vector<Known> known_;
  std::map<std::tuple<dev_t, ino_t, bool, bool, std::optional<uint32_t>>, uint32_t> by_inode_;
};

// Every file of an image, opened and found to be the one that was mapped. `root` is where paths start.
Result<std::map<uint32_t, Fd>> open_mapped_files(const ImageReader& image, int root, const RemadeFiles& carried);

}  // namespace ks::engine
