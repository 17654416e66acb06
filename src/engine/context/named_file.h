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

// Opens as if `root` were /, following links and crossing mounts below it.
Result<Fd> open_in_root(int root, const std::string& path, int flags);

// Whether `path`, from `root`, is a name of the file; symbolic links at its end are not followed.
bool leads_to(int root, const std::string& path, const struct stat& stat);
// Of a file that has got another name in the same directory since it was opened, and has lost that first one or had
// none (sem_open(3), O_TMPFILE and linkat(2)): by that name. Else `path`, as /proc tells it.
std::string path_now(int root, const std::string& path, const struct stat& stat);
// The file by that name (O_PATH), empty where it is another's.
Fd open_where_it_leads(int root, const std::string& path, const struct stat& stat);

// The flags of an open file that has a name now, by which nobody can open it with O_TMPFILE again.
int without_tmpfile(int flags);

// How a file on a disk is opened to which no path leads: deleted under the name by which it was opened, but not under
// all others (hard links), or hidden by a mount. It lasts as long as the file (open_by_handle_at(2)).
struct FileHandle {
  std::string mount;  // a directory on its file system
  int type = 0;
  std::string bytes;
};
// Where `path` is that of a deleted file, it gets its former name for a moment, so that it shows that again.
Result<Fd> open_by_handle(int root, const FileHandle& handle, const std::string& path, int flags);

// Finds files by what the kernel tells of those that somebody watches: file system and handle
// (name_to_handle_at(2)). The view must outlive it.
class HandleFinder {
 public:
  explicit HandleFinder(const MountView& view) : view_(view) {}

  struct Found {
    std::string path;  // from the view's root
    struct stat stat{};
    uint64_t file_system = 0;  // its magic number
    bool mount_root = false;
  };
  // A refusal where it cannot be opened or no path leads to it.
  Result<Found> find(dev_t device, int handle_type, std::string_view handle);
  // `link` is a magic link of /proc to the file.
  Result<FileHandle> handle_of(const std::string& link);

 private:
  struct Directory {
    std::string where;
    Fd fd;
  };
  // A directory on each of its mounts: which one is taken decides what the path is.
  const std::vector<Directory>& mounts_of(dev_t device);
  const MountView& view_;
  std::map<dev_t, std::vector<Directory>> mounts_;
};

}  // namespace ks::engine
