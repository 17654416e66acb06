// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/carried_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "base/file.h"
#include "engine/context/carried_content.h"
#include "engine/context/mapped_files.h"
#include "engine/context/named_file.h"
#include "engine/context/system_v_memory.h"
#include "engine/kernel/file_system.h"

namespace ks::engine {

namespace {

using File = image::CarriedFileList::File;

constexpr std::string_view kKind = "carried-files";
constexpr uint32_t kVersion = 1;
constexpr const char* kFileName = "carried-files.ks";
constexpr std::string_view kDeleted = " (deleted)";

// File systems on which a file that has no name any more is nothing but its content (magic numbers of statfs(2)).
constexpr std::array<uint64_t, 9> kOrdinary = {
    EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC, F2FS_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC,
    TMPFS_MAGIC,      RAMFS_MAGIC,     HUGETLBFS_MAGIC,   0x2fc12fc1,  // ZFS
};

// Memory of memfds and of shared mappings lies on a mount of the kernel's own.
Result<dev_t> kernel_memory_device() {
  Fd own(::memfd_create("probe", MFD_CLOEXEC));
  struct stat stat{};
  if (!own || ::fstat(own.get(), &stat)) return fail_errno("memfd_create");
  return stat.st_dev;
}

std::string without_mark(const std::string& path) {
  return path.ends_with(kDeleted) ? path.substr(0, path.size() - kDeleted.size()) : path;
}

// Labels of security modules are given by those of the new kernel.
bool is_carried_attribute(std::string_view name) {
  return !name.starts_with("security.") || name == "security.capability";
}

Result<> read_attributes(int fd, File& file) {
  std::string names(XATTR_LIST_MAX, '\0'), value(XATTR_SIZE_MAX, '\0');
  ssize_t size = ::flistxattr(fd, names.data(), names.size());
  if (size < 0 && errno == EOPNOTSUPP) return {};
  if (size < 0) return fail_errno("listxattr");
  for (size_t at = 0; at < static_cast<size_t>(size); at += ::strlen(&names[at]) + 1) {
    const char* name = &names[at];
    if (!is_carried_attribute(name)) continue;
    ssize_t bytes = ::fgetxattr(fd, name, value.data(), value.size());
    if (bytes < 0) return fail_errno(fmt::format("getxattr of {}", name));
    auto* out = file.add_attributes();
    out->set_name(name);
    out->set_value(value.data(), static_cast<size_t>(bytes));
  }
  return {};
}

Result<uint64_t> dump_one(ImageWriter& image, const std::string& link, File& file) {
  // A description of our own: moving its position disturbs nobody.
  bool regular = S_ISREG(file.mode());
  Fd fd = TRY(open_file(link, regular ? O_RDONLY | O_NOATIME : O_RDONLY | O_DIRECTORY | O_NOATIME));
  TRY(read_attributes(fd.get(), file));
  if (!regular) return 0;
  struct stat stat{};
  if (::fstat(fd.get(), &stat)) return fail_errno(link);
  file.set_bytes(static_cast<uint64_t>(stat.st_size));
  if (int seals = ::fcntl(fd.get(), F_GET_SEALS); file.origin() == File::MEMFD) {
    if (seals < 0) return fail_errno("F_GET_SEALS");
    file.set_seals(static_cast<uint32_t>(seals));
  }
  return write_content(image, fd.get(), file);
}

}  // namespace

Result<> describe_above(int root, const std::string& path, dev_t device, File& file) {
  for (size_t slash = path.rfind('/'); slash != 0 && slash != std::string::npos; slash = path.rfind('/', slash - 1)) {
    std::string directory = path.substr(0, slash);
    Fd fd = TRY(open_in_root(root, directory, O_PATH | O_DIRECTORY));
    struct stat stat{};
    if (::fstat(fd.get(), &stat)) return fail_errno(directory);
    if (stat.st_dev != device) break;
    auto* out = file.add_above();
    out->set_path(directory);
    out->set_mode(stat.st_mode & 07777);
    out->set_uid(stat.st_uid);
    out->set_gid(stat.st_gid);
  }
  std::reverse(file.mutable_above()->begin(), file.mutable_above()->end());
  return {};
}

Result<> CarriedFiles::describe(int root, const std::string& path, const struct stat& stat, const CarriedUse& use,
                                Known& known) const {
  File& file = known.file;
  struct statfs system{};
  if (::statfs(known.link.c_str(), &system)) return fail_errno(path);
  auto magic = static_cast<uint64_t>(system.f_type);
  file.set_file_system(magic);
  file.set_mode(stat.st_mode);
  file.set_uid(stat.st_uid);
  file.set_gid(stat.st_gid);
  file.set_accessed_seconds(stat.st_atim.tv_sec);
  file.set_accessed_nanoseconds(stat.st_atim.tv_nsec);
  file.set_modified_seconds(stat.st_mtim.tv_sec);
  file.set_modified_nanoseconds(stat.st_mtim.tv_nsec);
  file.set_bytes(S_ISREG(stat.st_mode) ? static_cast<uint64_t>(stat.st_size) : 0);
  if (magic == HUGETLBFS_MAGIC) file.set_huge_page(static_cast<uint64_t>(system.f_bsize));
  file.set_path(stat.st_nlink ? path : without_mark(path));

  if (use.segment) return describe_segment(*use.segment, path, stat, file);
  if (magic == HUGETLBFS_MAGIC || stat.st_dev == TRY(kernel_memory_device())) {
    constexpr std::string_view kMemfd = "/memfd:";
    if (path.starts_with(kMemfd) && stat.st_nlink == 0) {
      file.set_origin(File::MEMFD);
      file.set_path(file.path().substr(kMemfd.size()));
      return {};
    }
    if (path == "/dev/zero (deleted)" || path == "/anon_hugepage (deleted)") {
      file.set_origin(File::ANONYMOUS);
      return {};
    }
    if (magic != HUGETLBFS_MAGIC || path.starts_with("/SYSV")) return refuse("memory of an unknown kind: " + path);
  }
  auto allocated = static_cast<uint64_t>(stat.st_blocks) * 512;
  if (!is_in_memory(magic) && allocated > largest_)
    return refuse(fmt::format(
        "{}: would have to be copied, and its {} bytes are more than the limit of {} (LargestDeletedFile=)", path,
        allocated, largest_));
  if (stat.st_nlink == 0) {
    if (std::ranges::find(kOrdinary, magic) == kOrdinary.end())
      return refuse(path + ": of a file system of which we do not know what a deleted file is");
    file.set_origin(File::DELETED);
    return {};
  }
  if (!leads_to(root, path, stat))
    return refuse(path + ": its path leads elsewhere now (renamed, replaced or hidden by a mount)");
  if (S_ISREG(stat.st_mode) && stat.st_nlink > 1)
    return refuse(path + ": has other names too (hard links), which a new kernel would not know");
  file.set_origin(File::NAMED);
  return describe_above(root, path, stat.st_dev, file);
}

Result<> CarriedFiles::check_outside(const struct stat& stat) {
  if (auto other = TRY(outside_.sharer(stat.st_dev, stat.st_ino)))
    return refuse(fmt::format("shared with pid {}, which is not part of it", *other));
  return {};
}

Result<std::optional<uint32_t>> CarriedFiles::add(int root, const std::string& link, const CarriedUse& use) {
  struct stat stat{};
  if (::stat(link.c_str(), &stat)) return fail_errno(link);
  if (!S_ISREG(stat.st_mode) && !S_ISDIR(stat.st_mode)) return std::nullopt;
  std::tuple key(stat.st_dev, stat.st_ino, use.segment ? use.segment->name_space + 1 : 0);
  auto known = by_inode_.find(key);
  if (known == by_inode_.end()) {
    struct statfs system{};
    if (::statfs(link.c_str(), &system)) return fail_errno(link);
    std::string path = path_now(root, TRY(read_link(link)), stat);
    if (stat.st_nlink != 0 && !vanishes_(path, static_cast<uint64_t>(system.f_type))) return std::nullopt;
    Known fresh{.file = {}, .link = link};
    TRY(describe(root, path, stat, use, fresh));
    auto id = static_cast<uint32_t>(known_.size());
    fresh.file.set_id(id);
    known_.push_back(std::move(fresh));
    known = by_inode_.emplace(key, id).first;
  }
  File& file = known_[known->second].file;
  if (use.changes_show && S_ISREG(stat.st_mode) && !use.segment) TRY(check_outside(stat));
  if (use.writable) file.set_writable(true);
  if (use.open_file && (file.origin() == File::DELETED || file.origin() == File::NAMED)) {
    auto* opening = file.add_openings();
    opening->set_file(*use.open_file);
    opening->set_flags(static_cast<uint32_t>(file.origin() == File::NAMED ? without_tmpfile(use.flags) : use.flags));
  }
  return known->second;
}

Result<uint64_t> CarriedFiles::dump(ImageWriter& image) {
  image::CarriedFileList list;
  uint64_t bytes = 0;
  for (auto& [file, link] : known_) {
    bytes += TRY(in(file.path(), dump_one(image, link, file)));
    *list.add_files() = file;
  }
  TRY(image.put(kFileName, seal(kKind, kVersion, list)));
  return bytes;
}

}  // namespace ks::engine
