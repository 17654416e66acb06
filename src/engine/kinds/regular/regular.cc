// SPDX-License-Identifier: LGPL-2.1-or-later
// Regular files and directories, by path. Their content stays where it is, so they must lie on a file
// system that outlives the kernel.
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "base/file.h"
#include "engine/context/mapped_files.h"
#include "engine/kinds/kind.h"
#include "engine/regular.pb.h"

namespace ks::engine {

namespace {

constexpr std::string_view kName = "regular";
constexpr uint32_t kVersion = 1;

bool owns(const OpenFile& file) {
  return (S_ISREG(file.stat.st_mode) || S_ISDIR(file.stat.st_mode)) && file.link.starts_with('/');
}

// Nothing where the path leads nowhere.
std::optional<uint64_t> mount_of(const Dumping& dumping, const std::string& path) {
  auto file = open_in_root(dumping.mounts.root.get(), path, O_PATH | O_NOFOLLOW);
  struct statx status{};
  if (!file || ::statx(file->get(), "", AT_EMPTY_PATH, STATX_MNT_ID, &status)) return std::nullopt;
  return status.stx_mnt_id;
}

// What is mounted below such a directory is not part of it.
bool is_refilled(const Dumping& dumping, const std::string& path) {
  return std::ranges::any_of(dumping.options.refilled, [&](const std::string& directory) {
    bool below = path.starts_with(directory) && (path.size() == directory.size() || path[directory.size()] == '/');
    return below && mount_of(dumping, path) == mount_of(dumping, directory);
  });
}

// Why the file cannot be found again after a swap, or nothing.
Result<std::string> obstacle(const Dumping& dumping, const OpenFile& file) {
  if (file.link.starts_with("/memfd:")) return "a memfd, which is not supported yet";
  if (file.stat.st_nlink == 0) return "deleted but open, which is not supported yet; have the service close it";
  auto named = open_in_root(dumping.mounts.root.get(), file.link, O_PATH | O_NOFOLLOW);
  struct stat found{};
  if (!named || ::fstat(named->get(), &found) || found.st_dev != file.stat.st_dev || found.st_ino != file.stat.st_ino)
    return "its path leads elsewhere now (renamed, replaced or hidden by a mount)";
  struct statfs system{};
  if (::fstatfs(named->get(), &system)) return fail_errno(file.link);
  switch (system.f_type) {
    case TMPFS_MAGIC:
    case RAMFS_MAGIC:
      if (is_refilled(dumping, file.link)) break;
      return "lies in memory (tmpfs), which is not supported yet";
    case PROC_SUPER_MAGIC:
    case SYSFS_MAGIC:
    case CGROUP_SUPER_MAGIC:
    case CGROUP2_SUPER_MAGIC:
    case DEBUGFS_MAGIC:
    case TRACEFS_MAGIC:
    case BPF_FS_MAGIC:
      return "a file of the kernel, which is not supported yet";
  }
  // A position in a directory is a hash or an offset of what is on the disk there; elsewhere it is anything.
  bool lasting =
      system.f_type == EXT4_SUPER_MAGIC || system.f_type == XFS_SUPER_MAGIC || system.f_type == BTRFS_SUPER_MAGIC;
  if (S_ISDIR(file.stat.st_mode) && file.info.position != 0 && !lasting)
    return "a directory that is being read, on a file system whose positions may not last";
  return "";
}

Result<> dump(Dumping& dumping, std::span<const OpenFile> files) {
  for (const OpenFile& file : files) {
    if (auto why = TRY(obstacle(dumping, file)); !why.empty()) {
      dumping.refuse(file.pid, file.object(), why);
      continue;
    }
    image::RegularFile out;
    out.set_id(file.id);
    out.set_path(file.link);
    out.set_flags(static_cast<uint32_t>(file.flags()));
    out.set_position(file.info.position);
    out.set_inode(file.stat.st_ino);
    out.set_mode(file.stat.st_mode);
    out.set_refilled(is_refilled(dumping, file.link));
    out.set_bytes(static_cast<uint64_t>(file.stat.st_size));
    dumping.put_file(kName, kVersion, out);
  }
  return {};
}

Result<Fd> make_one(Restoring& restoring, const image::RegularFile& file) {
  int flags = static_cast<int>(file.flags());
  // Beside O_PATH openat2(2) takes few others, and not the O_LARGEFILE that the kernel has set itself.
  int open_flags = flags & O_PATH ? flags & (O_PATH | O_DIRECTORY | O_NOFOLLOW) : flags | O_NOCTTY;
  Fd fd = TRY(open_in_root(restoring.root.get(), file.path(), open_flags));
  struct stat found{};
  if (::fstat(fd.get(), &found)) return fail_errno(file.path());
  bool same = file.refilled() ? found.st_mode == file.mode() &&
                                    (!S_ISREG(found.st_mode) || static_cast<uint64_t>(found.st_size) == file.bytes())
                              : found.st_ino == file.inode() && (found.st_mode & S_IFMT) == (file.mode() & S_IFMT);
  if (!same) return fail(file.path() + ": not the file that was open; it has been replaced");
  if (!(flags & O_PATH) && file.position() && ::lseek(fd.get(), static_cast<off_t>(file.position()), SEEK_SET) < 0)
    return fail_errno(file.path());
  return fd;
}

Result<Fds> make(Restoring& restoring, std::span<const Envelope> envelopes) {
  Fds made;
  for (const Envelope& envelope : envelopes) {
    image::RegularFile file;
    TRY(parse_body(envelope, file));
    made.emplace(file.id(), TRY(make_one(restoring, file)));
  }
  return made;
}

}  // namespace

extern const Kind kRegular;
const Kind kRegular{.name = kName, .version = kVersion, .owns = owns, .dump = dump, .make = make};

}  // namespace ks::engine
