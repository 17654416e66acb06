// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/dumping.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <optional>

#include "base/file.h"
#include "engine/kernel/file_system.h"

namespace ks::engine {

int Dumping::number_of(pid_t pid, uint32_t file) const {
  auto table = descriptors.find(pid);
  if (table == descriptors.end()) return -1;
  auto found = std::ranges::find(table->second, file, &DumpedDescriptor::file);
  return found == table->second.end() ? -1 : found->number;
}

const OpenFile* Dumping::file_at(pid_t pid, int number) const {
  auto table = descriptors.find(pid);
  if (table == descriptors.end()) return nullptr;
  auto found = std::ranges::lower_bound(table->second, number, {}, &DumpedDescriptor::number);
  return found == table->second.end() || found->number != number ? nullptr : &open_files[found->file];
}

Result<uint32_t> Dumping::mapped_file(const std::string& link, bool shared, bool writable,
                                      const SegmentUse* segment) {
  std::string path = TRY(read_link(link));
  auto carried = TRY(
      carried_files.add(mounts.root.get(), link, {.writable = writable, .changes_show = shared, .segment = segment}));
  return mapped_files.add(mounts, link, path, shared, writable, !carried && is_refilled(path), carried);
}

Result<uint32_t> Dumping::mapped_file(const StoppedProcess& process, const Vma& area) {
  // "may write", whether it can just now or not: the file was open for writing.
  bool writable = area.shared && area.has("mw");
  // A thousand processes map the same libraries. Of a disk all areas with this have one file; elsewhere, as on a
  // file system with subvolumes, the inode's number may be that of several.
  if (area.device_major == 0) return mapped_file(process.map_file(area), area.shared, writable);
  AreaFile key(area.device_major, area.device_minor, area.inode, area.path, area.shared, writable);
  if (auto known = area_files.find(key); known != area_files.end()) return known->second;
  uint32_t id = TRY(mapped_file(process.map_file(area), area.shared, writable));
  area_files.emplace(std::move(key), id);
  return id;
}

namespace {

// Nothing where the path leads nowhere.
std::optional<uint64_t> mount_of(const MountView& view, const std::string& path) {
  auto file = open_in_root(view.root.get(), path, O_PATH | O_NOFOLLOW);
  struct statx status{};
  if (!file || ::statx(file->get(), "", AT_EMPTY_PATH, STATX_MNT_ID, &status)) return std::nullopt;
  return status.stx_mnt_id;
}

}  // namespace

bool Dumping::is_within(const std::string& path, const std::vector<std::string>& directories) const {
  return std::ranges::any_of(directories, [&](const std::string& directory) {
    bool below = path.starts_with(directory) && (path.size() == directory.size() || path[directory.size()] == '/');
    // What is mounted below such a directory is not part of it.
    return below && mount_of(mounts, path) == mount_of(mounts, directory);
  });
}

bool Dumping::is_refilled(const std::string& path) const { return is_within(path, options.refilled); }

bool Dumping::vanishes(const std::string& path, uint64_t file_system) const {
  if (is_in_memory(file_system)) return true;
  return is_within(path, options.emptied) && !std::ranges::count(options.emptied, path) && !is_refilled(path);
}

bool Dumping::is_made_anew(const std::string& path) const { return is_within(path, options.made_anew); }

}  // namespace ks::engine
