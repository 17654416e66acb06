// SPDX-License-Identifier: LGPL-2.1-or-later
// Working directory, root directory, umask.
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <optional>

#include "base/file.h"
#include "engine/context/named_file.h"
#include "engine/directories.pb.h"
#include "engine/task/born_inside.h"
#include "engine/task/room.h"

namespace ks::engine {

namespace {

// In the mount namespace of the process and from that namespace's root.
struct Place {
  std::string path;
  std::optional<uint32_t> carried;  // among the carried files, where no disk keeps it
};

Result<Place> find_place(Dumping& dumping, const std::string& link) {
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

// Of a thread.
Result<image::Directories::Set> find_set(Dumping& dumping, const StoppedProcess& process, pid_t tid) {
  std::string task = process.proc(fmt::format("task/{}/", tid));
  image::Directories::Set out;
  out.set_tid(tid);
  out.set_umask(TRY(parse_status(TRY(read_file(task + "status")))).umask);
  for (auto [which, what] : {std::pair("cwd", "working directory"), std::pair("root", "root directory")}) {
    auto place = find_place(dumping, task + which);
    bool root = which == std::string_view("root");
    if (!place && place.error().refusal) {
      dumping.refuse(process.pid, what, place.error().what);
      continue;
    }
    auto [path, carried] = TRY(std::move(place));
    (root ? out.mutable_root() : out.mutable_working())->assign(path);
    if (carried && root) out.set_carried_root(*carried);
    if (carried && !root) out.set_carried_working(*carried);
  }
  return out;
}

Result<long> compare(pid_t one, pid_t other) {
  long order = ::syscall(SYS_kcmp, one, other, KCMP_FS, 0, 0);
  if (order < 0) return fail_errno("kcmp");
  return order;
}

// Those of the process first, then those of threads that have their own (unshare(2) with CLONE_FS).
Result<> dump(Dumping& dumping, DumpedProcess& process, const TaskRoom& room) {
  StoppedProcess& stopped = process.stopped;
  image::Directories out;
  std::vector<pid_t> apart;
  for (const StoppedThread& thread : stopped.threads) {
    pid_t tid = thread.tid();
    if (tid != stopped.pid && TRY(compare(stopped.pid, tid)) == 0) continue;
    *out.add_sets() = TRY(find_set(dumping, stopped, tid));
    if (tid == stopped.pid) continue;
    for (pid_t other : apart)
      if (TRY(compare(other, tid)) == 0)
        dumping.refuse(
            stopped.pid, fmt::format("thread {}", tid),
            fmt::format("shares its working directory with thread {}, but not with its process; that is not "
                        "supported yet",
                        other));
    for (const auto& other : dumping.processes)
      if (!other.zombie && other.pid != stopped.pid && TRY(compare(other.pid, tid)) == 0)
        dumping.refuse(
            stopped.pid, fmt::format("thread {}", tid),
            fmt::format("shares its working directory with pid {}, which is not supported yet", other.pid));
    apart.push_back(tid);
  }
  if (auto inside = dumping.inside.find(stopped.pid); inside != dumping.inside.end())
    out.mutable_sets(0)->set_inherited(TRY(has_same_directories(stopped.pid, inside->second.founder)));
  if (!apart.empty() && TRY(read_link(stopped.proc("ns/user"))) != TRY(read_link("/proc/self/ns/user")))
    dumping.refuse(stopped.pid, fmt::format("thread {}", apart.front()),
                   "has a working directory of its own, in a user namespace; that is not supported yet");
  process.put(room.name, room.version, out);
  return {};
}

Result<> call_with_path(RestoredProcess& process, RemoteCalls& calls, long number, const std::string& path) {
  if (path.size() >= Parking::kScratchSize) return fail("path too long", ENAMETOOLONG);
  TRY(process.memory->write(process.scratch, std::as_bytes(std::span(path.c_str(), path.size() + 1))));
  TRY(in(path, calls(number, process.scratch)));
  return {};
}

// To which no path may lead; so by the working directory, which is as it should be.
Result<> enter_carried_root(Restoring& restoring, RestoredProcess& process, RemoteCalls& calls,
                            const image::Directories::Set& set) {
  TRY(process.memory->write(process.scratch, std::as_bytes(std::span("."))));
  auto working = TRY(calls(SYS_openat, AT_FDCWD, process.scratch, O_PATH | O_DIRECTORY | O_CLOEXEC));
  TRY(calls(SYS_fchdir, TRY(restoring.carried_file(set.carried_root()))));
  TRY(calls(SYS_chroot, process.scratch));
  TRY(calls(SYS_fchdir, working));
  TRY(calls(SYS_close, working));
  return {};
}

Result<> restore_set(Restoring& restoring, RestoredProcess& process, RemoteCalls& calls,
                     const image::Directories::Set& set) {
  TRY(calls(SYS_umask, set.umask()));
  if (set.inherited() && restoring.inside.contains(calls.thread().tid())) return {};
  if (set.has_carried_working())
    TRY(in("working directory", calls(SYS_fchdir, TRY(restoring.carried_file(set.carried_working())))));
  else
    TRY(in("working directory", call_with_path(process, calls, SYS_chdir, set.working())));
  if (set.has_carried_root()) return in("root directory", enter_carried_root(restoring, process, calls, set));
  if (set.root() != "/") TRY(in("root directory", call_with_path(process, calls, SYS_chroot, set.root())));
  return {};
}

// While the process still has the engine's descriptors.
Result<> restore(Restoring& restoring, RestoredProcess& process, const TaskRoom& room) {
  if (process.shares_directories) return {};
  auto directories = TRY(process.read<image::Directories>(room.name, room.version));
  if (directories.sets().empty() || directories.sets(0).tid() != process.pid) return fail("not those of the process");
  return restore_set(restoring, process, process.leader(), directories.sets(0));
}

Result<> nothing(Dumping&, DumpedProcess&, const TaskRoom&) { return {}; }

Result<> restore_threads(Restoring& restoring, RestoredProcess& process, const TaskRoom& room) {
  auto directories = TRY(process.read<image::Directories>("directories", room.version));
  for (const auto& set : directories.sets())
    for (RestoredThread& thread : process.threads)
      if (thread.tid() == set.tid() && set.tid() != process.pid)
        TRY(in(fmt::format("thread {}", set.tid()), restore_set(restoring, process, thread.calls, set)));
  return {};
}

}  // namespace

extern const TaskRoom kDirectories, kThreadDirectories;
const TaskRoom kDirectories{.name = "directories", .version = 1, .dump = dump, .restore = restore};
const TaskRoom kThreadDirectories{
    .name = "thread-directories", .version = 1, .dump = nothing, .restore = restore_threads};

Result<> restore_directories(Restoring& restoring, RestoredProcess& process) {
  return restore(restoring, process, kDirectories);
}

}  // namespace ks::engine
