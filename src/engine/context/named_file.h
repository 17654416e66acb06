// SPDX-License-Identifier: LGPL-2.1-or-later
// Which path leads to a file.
#pragma once

#include <sys/stat.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "engine/context/mounts.h"

namespace ks::engine {

// Whether `path`, from `root`, is a name of the file; symbolic links at its end are not followed.
bool leads_to(int root, const std::string& path, const struct stat& stat);

// Finds files by what the kernel tells of those that somebody watches: file system and handle
// (name_to_handle_at(2)). The view must outlive it.
class HandleFinder {
 public:
  explicit HandleFinder(const MountView& view) : view_(view) {}

  struct Found {
    std::string path;  // from the view's root
    struct stat stat{};
    uint64_t file_system = 0;  // its magic number
  };
  // A refusal where it cannot be opened or no path leads to it.
  Result<Found> find(dev_t device, int handle_type, std::string_view handle);

 private:
  // A directory on each of its mounts: which one is taken decides what the path is.
  const std::vector<Fd>& mounts_of(dev_t device);
  const MountView& view_;
  std::map<dev_t, std::vector<Fd>> mounts_;
};

}  // namespace ks::engine
