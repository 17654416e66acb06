// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/named_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/file.h"
#include "base/open_resolved.h"

namespace ks::engine {

namespace {

constexpr std::string_view kDeleted = " (deleted)";

// File systems whose handles are the same under another kernel (Documentation/filesystems/nfs/exporting.rst).
constexpr std::array<uint64_t, 4> kLasting = {EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC, F2FS_SUPER_MAGIC};

// open_by_handle_at(2) takes no O_PATH here. Another mount may lie on top, and that would be another device.
Result<Fd> open_mount(int root, const std::string& where) {
  return open_in_root(root, where, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_DIRECTORY);
}

Result<Fd> open_handle(int mount, int type, std::string_view bytes, int flags) {
  std::vector<std::byte> buffer(sizeof(file_handle) + bytes.size());
  auto* request = reinterpret_cast<file_handle*>(buffer.data());
  request->handle_bytes = static_cast<unsigned>(bytes.size());
  request->handle_type = type;
  std::memcpy(request->f_handle, bytes.data(), bytes.size());
  Fd fd(::open_by_handle_at(mount, request, flags | O_CLOEXEC));
  if (!fd) return fail_errno("open_by_handle_at");
  return fd;
}

}  // namespace

Result<Fd> open_in_root(int root, const std::string& path, int flags) {
  return open_resolved(root, path, flags, RESOLVE_IN_ROOT);
}

int without_tmpfile(int flags) { return (flags & O_TMPFILE) == O_TMPFILE ? flags & ~O_TMPFILE : flags; }

std::string path_now(int root, const std::string& path, const struct stat& stat) {
  size_t slash = path.rfind('/');
  if (stat.st_nlink == 0 || !path.ends_with(kDeleted) || slash == std::string::npos) return path;
  std::string directory = path.substr(0, slash + 1);
  auto opened = open_in_root(root, directory, O_RDONLY | O_DIRECTORY);
  auto names = opened ? list_directory(fmt::format("/proc/self/fd/{}", opened->get())) : fail("gone");
  if (!names) return path;
  for (const std::string& name : *names) {
    struct stat found{};
    if (::fstatat(opened->get(), name.c_str(), &found, AT_SYMLINK_NOFOLLOW) == 0 && found.st_dev == stat.st_dev &&
        found.st_ino == stat.st_ino)
      return directory + name;
  }
  return path;
}

Fd open_where_it_leads(int root, const std::string& path, const struct stat& stat) {
  auto named = open_in_root(root, path, O_PATH | O_NOFOLLOW);
  struct stat found{};
  bool is_it =
      named && ::fstat(named->get(), &found) == 0 && found.st_dev == stat.st_dev && found.st_ino == stat.st_ino;
  return is_it ? *std::move(named) : Fd();
}

bool leads_to(int root, const std::string& path, const struct stat& stat) {
  return static_cast<bool>(open_where_it_leads(root, path, stat));
}

const std::vector<HandleFinder::Directory>& HandleFinder::mounts_of(dev_t device) {
  auto [at, fresh] = mounts_.try_emplace(device);
  if (!fresh) return at->second;
  for (const MountPoint& point : view_.points) {
    if (point.device != device) continue;
    if (auto fd = open_mount(view_.root.get(), point.where)) at->second.push_back({point.where, *std::move(fd)});
  }
  return at->second;
}

Result<HandleFinder::Found> HandleFinder::find(dev_t device, int handle_type, std::string_view handle) {
  std::string elsewhere;
  for (const auto& [where, mount] : mounts_of(device)) {
    auto fd = open_handle(mount.get(), handle_type, handle, O_PATH | O_NOFOLLOW);
    if (!fd) continue;
    Found found{.path = TRY(read_link(fmt::format("/proc/self/fd/{}", fd->get())))};
    if (::fstat(fd->get(), &found.stat)) return fail_errno(found.path);
    elsewhere = found.path;
    if (!leads_to(view_.root.get(), found.path, found.stat)) continue;
    struct statfs system{};
    if (::fstatfs(fd->get(), &system)) return fail_errno(found.path);
    found.file_system = static_cast<uint64_t>(system.f_type);
    struct statx facts{};
    if (::statx(fd->get(), "", AT_EMPTY_PATH, 0, &facts)) return fail_errno(found.path);
    found.mount_root = facts.stx_attributes & STATX_ATTR_MOUNT_ROOT;
    return found;
  }
  if (elsewhere.empty()) return refuse("watches a file that cannot be found");
  return refuse(fmt::format("watches {}, to which no path leads", elsewhere));
}

Result<FileHandle> HandleFinder::handle_of(const std::string& link) {
  struct statfs system{};
  struct stat stat{}, found{};
  if (::statfs(link.c_str(), &system) || ::stat(link.c_str(), &stat)) return fail_errno(link);
  if (std::ranges::find(kLasting, static_cast<uint64_t>(system.f_type)) == kLasting.end())
    return refuse("is on a file system whose handles may not last");
  alignas(file_handle) char buffer[sizeof(file_handle) + MAX_HANDLE_SZ]{};
  auto* told = reinterpret_cast<file_handle*>(buffer);
  told->handle_bytes = MAX_HANDLE_SZ;
  int mount_id = 0;
  if (::name_to_handle_at(AT_FDCWD, link.c_str(), told, &mount_id, AT_SYMLINK_FOLLOW)) return fail_errno(link);
  FileHandle handle{.type = told->handle_type,
                    .bytes = std::string(reinterpret_cast<char*>(told->f_handle), told->handle_bytes)};
  const MountPoint* point = view_.point(static_cast<uint64_t>(mount_id));
  for (const auto& [where, mount] : mounts_of(point ? point->device : stat.st_dev)) {
    auto fd = open_handle(mount.get(), handle.type, handle.bytes, O_PATH | O_NOFOLLOW);
    if (!fd || ::fstat(fd->get(), &found) || found.st_ino != stat.st_ino || found.st_dev != stat.st_dev) continue;
    handle.mount = where;
    return handle;
  }
  return refuse("cannot be opened by its handle");
}

namespace {

// Links it for the moment of opening it. Nothing is left behind, also of a failure.
Result<Fd> open_under_name(int directory, const FileHandle& handle, const std::string& name, int flags) {
  Fd file = TRY(open_handle(directory, handle.type, handle.bytes, O_PATH));
  if (::linkat(file.get(), "", directory, name.c_str(), AT_EMPTY_PATH)) return fail_errno(name);
  // Whoever may write to the directory could put a link there meanwhile, and O_NOFOLLOW would show later.
  auto opened = open_at(directory, name, flags & O_NOFOLLOW ? flags : O_PATH | O_NOFOLLOW);
  if (opened && !(flags & O_NOFOLLOW)) opened = open_file(fmt::format("/proc/self/fd/{}", opened->get()), flags);
  if (::unlinkat(directory, name.c_str(), 0)) return fail_errno(name);
  return opened;
}

}  // namespace

Result<Fd> open_by_handle(int root, const FileHandle& handle, const std::string& path, int flags) {
  flags = without_tmpfile(flags);
  size_t slash = path.rfind('/');
  if (path.ends_with(kDeleted) && slash != std::string::npos) {
    std::string name = path.substr(slash + 1, path.size() - slash - 1 - kDeleted.size());
    // The file is opened through the mount of its directory: no link goes from one mount to another.
    auto directory = open_in_root(root, path.substr(0, std::max<size_t>(slash, 1)), O_RDONLY | O_DIRECTORY);
    for (const auto& as : {name, fmt::format(".kernel-swap-{}", ::getpid())}) {
      if (!directory) break;
      if (auto opened = open_under_name(directory->get(), handle, as, flags)) return opened;
    }
  }
  Fd mount = TRY(open_mount(root, handle.mount));
  return in(path, open_handle(mount.get(), handle.type, handle.bytes, flags));
}

}  // namespace ks::engine
