// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/named_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/vfs.h>

#include <cstring>

#include "base/file.h"
#include "engine/context/mapped_files.h"

namespace ks::engine {

bool leads_to(int root, const std::string& path, const struct stat& stat) {
  auto named = open_in_root(root, path, O_PATH | O_NOFOLLOW);
  struct stat found{};
  return named && ::fstat(named->get(), &found) == 0 && found.st_dev == stat.st_dev && found.st_ino == stat.st_ino;
}

const std::vector<Fd>& HandleFinder::mounts_of(dev_t device) {
  auto [at, fresh] = mounts_.try_emplace(device);
  if (!fresh) return at->second;
  for (const MountPoint& point : view_.points) {
    if (point.device != device) continue;
    // open_by_handle_at(2) takes no O_PATH here. Another mount may lie on top, and that would be another device.
    auto opened = open_in_root(view_.root.get(), point.where, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_DIRECTORY);
    if (opened) at->second.push_back(*std::move(opened));
  }
  return at->second;
}

Result<HandleFinder::Found> HandleFinder::find(dev_t device, int handle_type, std::string_view handle) {
  std::vector<std::byte> buffer(sizeof(file_handle) + handle.size());
  auto* request = reinterpret_cast<file_handle*>(buffer.data());
  request->handle_bytes = static_cast<unsigned>(handle.size());
  request->handle_type = handle_type;
  std::memcpy(request->f_handle, handle.data(), handle.size());
  std::string elsewhere;
  for (const Fd& mount : mounts_of(device)) {
    Fd fd(::open_by_handle_at(mount.get(), request, O_PATH | O_CLOEXEC | O_NOFOLLOW));
    if (!fd) continue;
    Found found{.path = TRY(read_link(fmt::format("/proc/self/fd/{}", fd.get())))};
    if (::fstat(fd.get(), &found.stat)) return fail_errno(found.path);
    elsewhere = found.path;
    if (!leads_to(view_.root.get(), found.path, found.stat)) continue;
    struct statfs system{};
    if (::fstatfs(fd.get(), &system)) return fail_errno(found.path);
    found.file_system = static_cast<uint64_t>(system.f_type);
    return found;
  }
  if (elsewhere.empty()) return refuse("watches a file that cannot be found");
  return refuse(fmt::format("watches {}, to which no path leads", elsewhere));
}

}  // namespace ks::engine
