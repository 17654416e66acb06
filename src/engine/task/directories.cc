// SPDX-License-Identifier: LGPL-2.1-or-later
// Working directory, root directory, umask.
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "base/file.h"
#include "engine/context/mapped_files.h"
#include "engine/directories.pb.h"
#include "engine/task/room.h"

namespace ks::engine {

namespace {

// A path that leads there, in the mount namespace of the process and from that namespace's root.
Result<std::string> find_path(Dumping& dumping, const StoppedProcess& process, const char* which) {
  std::string link = process.proc(which);
  std::string path = TRY(read_link(link));
  struct stat real{}, named{};
  if (::stat(link.c_str(), &real)) return fail_errno(link);
  auto opened = open_in_root(dumping.mounts.root.get(), path, O_PATH | O_DIRECTORY);
  if (!opened || ::fstat(opened->get(), &named) || real.st_dev != named.st_dev || real.st_ino != named.st_ino)
    return refuse(path + " is deleted or hidden");
  struct statfs system{};
  struct statx facts{};
  if (::fstatfs(opened->get(), &system) || ::statx(opened->get(), "", AT_EMPTY_PATH, 0, &facts))
    return fail_errno(path);
  bool in_memory = system.f_type == TMPFS_MAGIC || system.f_type == RAMFS_MAGIC;
  if (in_memory && !(facts.stx_attributes & STATX_ATTR_MOUNT_ROOT))  // whose root is there as soon as it is mounted
    return refuse(path + " lies in memory (tmpfs), which a new kernel does not keep");
  return path;
}

Result<> dump(Dumping& dumping, DumpedProcess& process, const TaskRoom& room) {
  StoppedProcess& stopped = process.stopped;
  image::Directories out;
  out.set_umask(stopped.status.umask);
  for (auto [which, what] : {std::pair("cwd", "working directory"), std::pair("root", "root directory")}) {
    auto path = find_path(dumping, stopped, which);
    if (!path && path.error().refusal) {
      dumping.refuse(stopped.pid, what, path.error().what);
      continue;
    }
    (which == std::string_view("cwd") ? out.mutable_working() : out.mutable_root())->assign(TRY(std::move(path)));
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

Result<> restore(Restoring&, RestoredProcess& process, const TaskRoom& room) {
  auto directories = TRY(process.read<image::Directories>(room.name, room.version));
  TRY(in("working directory", call_with_path(process, SYS_chdir, directories.working())));
  if (directories.root() != "/") TRY(in("root directory", call_with_path(process, SYS_chroot, directories.root())));
  TRY(process.leader()(SYS_umask, directories.umask()));
  return {};
}

}  // namespace

extern const TaskRoom kDirectories;
const TaskRoom kDirectories{.name = "directories", .version = 1, .dump = dump, .restore = restore};

}  // namespace ks::engine
