// SPDX-License-Identifier: LGPL-2.1-or-later
// Working directory, root directory, umask.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <optional>

#include "base/file.h"
#include "engine/context/named_file.h"
#include "engine/directories.pb.h"
#include "engine/task/room.h"

namespace ks::engine {

namespace {

// In the mount namespace of the process and from that namespace's root.
struct Place {
  std::string path;
  std::optional<uint32_t> carried;  // among the carried files, where no disk keeps it
};

Result<Place> find_place(Dumping& dumping, const StoppedProcess& process, const char* which) {
  std::string link = process.proc(which);
  Place place{.path = TRY(read_link(link))};
  struct stat stat{};
  if (::stat(link.c_str(), &stat)) return fail_errno(link);
  int root = dumping.mounts.root.get();
  if (stat.st_nlink && !leads_to(root, place.path, stat)) return refuse(place.path + " is hidden");
  struct statx facts{};
  if (::statx(AT_FDCWD, link.c_str(), 0, 0, &facts)) return fail_errno(link);
  // What is mounted is there as soon as it is mounted, also when it lies in memory.
  if (facts.stx_attributes & STATX_ATTR_MOUNT_ROOT) return place;
  place.carried = TRY(dumping.carried_files.add(root, link, {}));
  return place;
}

Result<> dump(Dumping& dumping, DumpedProcess& process, const TaskRoom& room) {
  StoppedProcess& stopped = process.stopped;
  image::Directories out;
  out.set_umask(stopped.status.umask);
  for (auto [which, what] : {std::pair("cwd", "working directory"), std::pair("root", "root directory")}) {
    auto place = find_place(dumping, stopped, which);
    bool root = which == std::string_view("root");
    if (place && place->carried && root) place = refuse(place->path + " is deleted or lies in memory (tmpfs)");
    if (!place && place.error().refusal) {
      dumping.refuse(stopped.pid, what, place.error().what);
      continue;
    }
    auto [path, carried] = TRY(std::move(place));
    (root ? out.mutable_root() : out.mutable_working())->assign(path);
    if (carried) out.set_carried_working(*carried);
  }
  process.put(room.name, room.version, out);
  return {};
}

Result<> call_with_path(RestoredProcess& process, long number, const std::string& path) {
  if (path.size() >= Parking::kScratchSize) return fail("path too long", ENAMETOOLONG);
  TRY(process.memory->write(process.scratch, std::as_bytes(std::span(path.c_str(), path.size() + 1))));
  TRY(in(path, process.leader()(number, process.scratch)));
  return {};
}

// While the process still has the engine's descriptors.
Result<> restore(Restoring& restoring, RestoredProcess& process, const TaskRoom& room) {
  auto directories = TRY(process.read<image::Directories>(room.name, room.version));
  if (directories.has_carried_working())
    TRY(in("working directory",
           process.leader()(SYS_fchdir, TRY(restoring.carried_file(directories.carried_working())))));
  else
    TRY(in("working directory", call_with_path(process, SYS_chdir, directories.working())));
  if (directories.root() != "/") TRY(in("root directory", call_with_path(process, SYS_chroot, directories.root())));
  TRY(process.leader()(SYS_umask, directories.umask()));
  return {};
}

}  // namespace

extern const TaskRoom kDirectories;
const TaskRoom kDirectories{.name = "directories", .version = 1, .dump = dump, .restore = restore};

}  // namespace ks::engine
