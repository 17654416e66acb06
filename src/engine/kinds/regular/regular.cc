// SPDX-License-Identifier: LGPL-2.1-or-later
// Regular files and directories, by path or by handle. Their content stays where it is, so they must lie on a file
// system that outlives the kernel. And other files of a path that O_PATH descriptors lead to.
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "base/file.h"
#include "engine/context/named_file.h"
#include "engine/kinds/kind.h"
#include "engine/regular.pb.h"

namespace ks::engine {

namespace {

constexpr std::string_view kName = "regular";
constexpr uint32_t kVersion = 1;

// Beside regular files and directories whatever an O_PATH descriptor leads to.
bool owns(const OpenFile& file) {
  mode_t mode = file.stat.st_mode;
  if (!file.link.starts_with('/')) return false;
  return S_ISREG(mode) || S_ISDIR(mode) || (file.flags() & O_PATH && !S_ISFIFO(mode));
}

bool is_device(uint32_t mode) { return S_ISCHR(mode) || S_ISBLK(mode); }

bool is_writable(int flags) { return !(flags & O_PATH) && (flags & O_ACCMODE) != O_RDONLY; }

// How the file is found again after a swap.
struct Place {
  bool own = false;  // by a path of our own, not of the service
  bool refilled = false;
  std::optional<FileHandle> handle;
};

// A file that is open through no mount of the service's was opened before it entered its sandbox, where the same
// path may lead nowhere, or to what cannot be written to.
bool is_ours(const Dumping& dumping, const OpenFile& file) {
  auto mount = static_cast<uint64_t>(file.info.mount);
  return !dumping.mounts.point(mount) && dumping.own_mounts.point(mount);
}

Result<Place> find_place(const Dumping& dumping, const OpenFile& file) {
  std::string link = file.magic_link();
  Place place{.own = is_ours(dumping, file)};
  const MountView& view = place.own ? dumping.own_mounts : dumping.mounts;
  Fd reached = open_where_it_leads(view.root.get(), file.link, file.stat);
  if (reached) {
    place.refilled = !place.own && dumping.is_refilled(file.link);
  } else {
    auto handle = HandleFinder(view).handle_of(link);
    if (!handle)
      return refuse("its path leads elsewhere now (renamed, replaced or hidden by a mount), and it " +
                    handle.error().what);
    reached = TRY(open_in_root(view.root.get(), handle->mount, O_PATH | O_NOFOLLOW));
    place.handle = *std::move(handle);
  }
  if (!is_writable(file.flags())) return place;
  struct statfs system{};
  struct statx status{};
  if (::fstatfs(reached.get(), &system)) return fail_errno(file.link);
  if (system.f_flags & ST_RDONLY) return refuse("is open for writing, and its file system is read-only now");
  if (::statx(AT_FDCWD, link.c_str(), 0, 0, &status)) return fail_errno(link);
  if (status.stx_attributes & STATX_ATTR_IMMUTABLE ||
      (status.stx_attributes & STATX_ATTR_APPEND && !(file.flags() & O_APPEND)))
    return refuse("is open for writing, and nobody can open it so any more (chattr +i or +a)");
  return place;
}

// Why a file cannot be found again after a swap wherever it is, or nothing.
std::string obstacle(const OpenFile& file, const Place& place) {
  if (file.stat.st_nlink == 0) return "deleted but open, which is not supported yet";
  switch (file.file_system) {
    case TMPFS_MAGIC:
    case RAMFS_MAGIC:
      if (place.refilled || is_device(file.stat.st_mode)) break;
      return "lies in memory (tmpfs), which is not supported yet";
    case DEBUGFS_MAGIC:
    case TRACEFS_MAGIC:
    case BPF_FS_MAGIC:
      return "a file of the kernel, which is not supported yet";
  }
  // A position in a directory is a hash or an offset of what is on the disk there; elsewhere it is anything.
  bool lasting = file.file_system == EXT4_SUPER_MAGIC || file.file_system == XFS_SUPER_MAGIC ||
                 file.file_system == BTRFS_SUPER_MAGIC;
  if (S_ISDIR(file.stat.st_mode) && file.info.position != 0 && !lasting)
    return for_now("a directory that is being read, on a file system whose positions may not last");
  return "";
}

// Whoever writes may have told how long what he writes will last; the kernel keeps that in memory only.
Result<uint64_t> write_hint(const OpenFile& file) {
  uint64_t hint = 0;
  if (!S_ISREG(file.stat.st_mode) || !is_writable(file.flags())) return hint;
  Fd mine = TRY(file.fetch());
  if (::fcntl(mine.get(), F_GET_RW_HINT, &hint)) return 0;
  return hint;
}

// Of neighbours that are one file, opened more than once.
struct LastPlace {
  const OpenFile* file = nullptr;
  Place place;
  bool is_of(const OpenFile& other) const {
    return file && file->stat.st_dev == other.stat.st_dev && file->stat.st_ino == other.stat.st_ino &&
           file->info.mount == other.info.mount && file->flags() == other.flags() && file->link == other.link;
  }
};

Result<> dump_one(Dumping& dumping, const OpenFile& file, LastPlace& last) {
  if (file.stat.st_nlink && !last.is_of(file)) last = {&file, TRY(find_place(dumping, file))};
  const Place place = file.stat.st_nlink ? last.place : Place{};
  if (auto why = obstacle(file, place); !why.empty()) return refuse(why);
  image::RegularFile out;
  out.set_id(file.id);
  out.set_path(file.link);
  out.set_flags(static_cast<uint32_t>(file.flags()));
  out.set_position(file.info.position);
  out.set_inode(file.stat.st_ino);
  out.set_mode(file.stat.st_mode);
  out.set_refilled(place.refilled);
  out.set_bytes(static_cast<uint64_t>(file.stat.st_size));
  out.set_own(place.own);
  if (place.handle) {
    out.mutable_handle()->set_mount(place.handle->mount);
    out.mutable_handle()->set_type(place.handle->type);
    out.mutable_handle()->set_bytes(place.handle->bytes);
  }
  if (is_device(file.stat.st_mode)) out.set_device(file.stat.st_rdev);
  out.set_write_hint(TRY(write_hint(file)));
  dumping.put_file(kName, kVersion, out);
  return {};
}

Result<> dump(Dumping& dumping, std::span<const OpenFile> files) {
  LastPlace last;
  for (const OpenFile& file : files) TRY(is_done(dumping, file, dump_one(dumping, file, last)));
  return {};
}

bool is_same(const image::RegularFile& file, const struct stat& found) {
  if (file.device()) return found.st_rdev == file.device() && (found.st_mode & S_IFMT) == (file.mode() & S_IFMT);
  if (file.refilled())
    return found.st_mode == file.mode() &&
           (!S_ISREG(found.st_mode) || static_cast<uint64_t>(found.st_size) == file.bytes());
  return found.st_ino == file.inode() && (found.st_mode & S_IFMT) == (file.mode() & S_IFMT);
}

Result<Fd> make_one(Restoring& restoring, const Fd& own_root, const image::RegularFile& file) {
  int flags = static_cast<int>(file.flags());
  // Beside O_PATH openat2(2) takes few others, and not the O_LARGEFILE that the kernel has set itself.
  int open_flags = flags & O_PATH ? flags & (O_PATH | O_DIRECTORY | O_NOFOLLOW) : flags | O_NOCTTY;
  int root = file.own() ? own_root.get() : restoring.root.get();
  Fd fd = file.has_handle()
              ? TRY(open_by_handle(root, {file.handle().mount(), file.handle().type(), file.handle().bytes()},
                                   file.path(), open_flags))
              : TRY(open_in_root(root, file.path(), open_flags));
  struct stat found{};
  if (::fstat(fd.get(), &found)) return fail_errno(file.path());
  if (!is_same(file, found)) return fail(file.path() + ": not the file that was open; it has been replaced");
  if (!(flags & O_PATH) && file.position() && ::lseek(fd.get(), static_cast<off_t>(file.position()), SEEK_SET) < 0)
    return fail_errno(file.path());
  if (uint64_t hint = file.write_hint(); hint && ::fcntl(fd.get(), F_SET_RW_HINT, &hint))
    return fail_errno(file.path() + ": F_SET_RW_HINT");
  return fd;
}

Result<Fds> make(Restoring& restoring, std::span<const Envelope> envelopes) {
  Fds made;
  Fd own_root = TRY(open_file("/", O_PATH | O_DIRECTORY));
  for (const Envelope& envelope : envelopes) {
    image::RegularFile file;
    TRY(parse_body(envelope, file));
    made.emplace(file.id(), TRY(make_one(restoring, own_root, file)));
  }
  return made;
}

}  // namespace

extern const Kind kRegular;
const Kind kRegular{.name = kName, .version = kVersion, .owns = owns, .dump = dump, .make = make};

}  // namespace ks::engine
