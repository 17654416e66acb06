// SPDX-License-Identifier: LGPL-2.1-or-later
// Files whose content travels in the image because no disk keeps it: memory that processes share, memfds, files on
// file systems in memory, deleted files and directories. One inode is carried once, however many descriptors and
// mappings lead to it.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "engine/carried_files.pb.h"
#include "engine/context/outside.h"
#include "engine/image/store.h"
#include "engine/kernel/system_v.h"

namespace ks::engine {

struct MadeNamespaces;
struct SegmentUse;
class IpcGuard;

// How a file is held.
struct CarriedUse {
  bool writable = false;
  bool changes_show = true;             // not so through a private mapping
  std::optional<uint32_t> open_file;    // its id among the open files,
  int flags = 0;                        // and those of that open file
  const SegmentUse* segment = nullptr;  // of System V, whose numbers are not those of other inodes
};

class CarriedFiles {
 public:
  // By path and file system: whether what has that name is gone with the next boot.
  using Vanishes = std::function<bool(const std::string&, uint64_t)>;
  // Files on disks that are larger are refused.
  CarriedFiles(OutsideHolders& outside, uint64_t largest, Vanishes vanishes)
      : outside_(outside), largest_(largest), vanishes_(std::move(vanishes)) {}

  // `link` is a magic link of /proc to a file or a directory, `root` is where its path starts. Nothing if a disk
  // keeps it. A refusal if it would have to be carried but cannot be.
  Result<std::optional<uint32_t>> add(int root, const std::string& link, const CarriedUse& use);
  // Writes what was added. Returns the bytes of content.
  Result<uint64_t> dump(ImageWriter& image);

 private:
  struct Known {
    image::CarriedFileList::File file;
    std::string link;
  };
  Result<> describe(int root, const std::string& path, const struct stat& stat, const CarriedUse& use,
                    Known& known) const;
  Result<> check_outside(const struct stat& stat);

  OutsideHolders& outside_;
  uint64_t largest_;
  Vanishes vanishes_;
  std::vector<Known> known_;
  // The last: of its namespace and one, of System V shared memory.
  std::map<std::tuple<dev_t, ino_t, uint32_t>, uint32_t> by_inode_;
};

// The files of an image, made and filled. Each is open for reading.
struct RemadeFiles {
  std::map<uint32_t, Fd> files;
  std::map<uint32_t, Fd> openings;  // by id of the open file
};
Result<RemadeFiles> remake_carried_files(const ImageReader& image, int root, const MadeNamespaces& namespaces,
                                         IpcGuard& guard);
// Seals forbid what mapping and filling need, so they come last.
Result<> seal_carried_files(const ImageReader& image, RemadeFiles& remade, const MadeNamespaces& namespaces);

// Where a file in memory lies: directories above it, up to where its file system is mounted.
Result<> describe_above(int root, const std::string& path, dev_t device, image::CarriedFileList::File& file);
// The directory right above it; those that are missing are made again.
Result<Fd> open_above(int root, const image::CarriedFileList::File& file);

// The same file as a new open file with flags of its own.
Result<Fd> reopen(int fd, int flags);

}  // namespace ks::engine
