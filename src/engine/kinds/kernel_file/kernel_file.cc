// SPDX-License-Identifier: LGPL-2.1-or-later
// Files in which the kernel tells of itself: /proc, /sys and control groups. They are opened again by their path;
// what they tell is then of the new kernel. The engine opens them with privileges of its own, so only those are
// carried of which the kernel asks whoever reads or writes, not whoever has opened them; and none of which an open
// file is more than a position, as a trigger written to a file of pressure is.
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "base/file.h"
#include "base/text.h"
#include "engine/context/named_file.h"
#include "engine/kernel/file_system.h"
#include "engine/kernel/namespace.h"
#include "engine/kernel_file.pb.h"
#include "engine/kinds/kind.h"

namespace ks::engine {

namespace {

constexpr std::string_view kName = "kernel-file";
constexpr uint32_t kVersion = 1;

// Of a process or a thread.
constexpr std::array<std::string_view, 30> kOfTasks = {
    "auxv",       "cgroup",    "cmdline",   "comm",      "coredump_filter", "environ",
    "io",         "limits",    "loginuid",  "maps",      "mounts",          "mountinfo",
    "mountstats", "numa_maps", "oom_adj",   "oom_score", "oom_score_adj",   "personality",
    "sched",      "schedstat", "sessionid", "smaps",     "smaps_rollup",    "stack",
    "stat",       "statm",     "status",    "syscall",   "timerslack_ns",   "wchan"};
// Of kmsg whoever has it open reads what nobody has read yet: under another kernel what that one has logged.
constexpr std::array<std::string_view, 27> kOfAll = {
    "buddyinfo", "cgroups", "cmdline",     "consoles", "cpuinfo",     "crypto",     "devices",
    "diskstats", "dma",     "execdomains", "fb",       "filesystems", "interrupts", "kmsg",
    "loadavg",   "locks",   "meminfo",     "misc",     "partitions",  "schedstat",  "softirqs",
    "stat",      "swaps",   "uptime",      "version",  "vmstat",      "zoneinfo"};
constexpr std::string_view kDeleted = " (deleted)";

bool is_one_of(std::span<const std::string_view> names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

bool owns(const OpenFile& file) {
  // Only file systems without a disk have no major number.
  if (!file.link.starts_with('/') || major(file.stat.st_dev) != 0) return false;
  if (!S_ISREG(file.stat.st_mode) && !S_ISDIR(file.stat.st_mode) && !S_ISLNK(file.stat.st_mode)) return false;
  return is_of_kernel(file.file_system);
}

bool is_written(const OpenFile& file) { return !(file.flags() & O_PATH) && (file.flags() & O_ACCMODE) != O_RDONLY; }

bool is_inside(const Dumping& dumping, pid_t pid, std::optional<pid_t> tid) {
  auto process = std::ranges::find(dumping.processes, pid, &StoppedProcess::pid);
  if (process == dumping.processes.end() || process->zombie) return false;
  return !tid || std::ranges::find(process->threads, *tid, &StoppedThread::tid) != process->threads.end();
}

Result<> check_namespace(const OpenFile& file, const char* name) {
  std::string space = std::string("ns/") + name;
  if (TRY(read_link(proc_path(file.pid, space))) != TRY(read_link("/proc/self/" + space)))
    return refuse(fmt::format("a setting of another {} namespace", name));
  return {};
}

// "/proc/PID/net/dev". The kernel makes these anew whenever anybody looks for one, and those that are open show as
// deleted from then on.
bool is_of_network(const std::string& path) {
  size_t at = path.find("/net/");
  return at != path.npos && at > 0 && std::isdigit(static_cast<unsigned char>(path[at - 1]));
}

// Its path from the top of a /proc, of which a part may be mounted elsewhere, or on itself (ProtectKernelTunables=).
Result<std::string> path_in_proc(const Dumping& dumping, const OpenFile& file, const std::string& path) {
  const MountPoint* mount = dumping.mounts.point(static_cast<uint64_t>(file.info.mount));
  if (!mount || !path.starts_with(mount->where)) return refuse("of a /proc that cannot be found");
  return mount->root + "/" + path.substr(mount->where.size());
}

// PIDs in it are those of our own PID namespace only if we find ourselves there.
Result<> check_pids(const Dumping& dumping, const OpenFile& file) {
  const MountPoint& mount = *dumping.mounts.point(static_cast<uint64_t>(file.info.mount));
  for (const MountPoint& point : dumping.mounts.points)
    if (point.device == mount.device && point.root == "/") {
      std::string self = fmt::format("{}/{}", point.where, ::getpid());
      auto found = open_in_root(dumping.mounts.root.get(), self, O_PATH | O_DIRECTORY);
      auto its = found ? read_link(fmt::format("/proc/self/fd/{}/ns/pid", found->get())) : fail("");
      if (its && *its == TRY(namespace_of(::getpid(), "pid"))) return {};
      break;
    }
  return refuse("of the /proc of another PID namespace, which is not supported yet");
}

Result<> check_proc_file(const Dumping& dumping, const OpenFile& file, const std::string& path) {
  bool path_only = file.flags() & O_PATH || S_ISDIR(file.stat.st_mode);
  auto parts = split(path, '/');
  std::erase(parts, "");
  if (parts.empty()) return {};  // /proc itself
  auto pid = parse_number<pid_t>(parts[0]);
  if (!pid) {
    if (parts[0] == "sys") {
      if (parts.size() > 1 && parts[1] == "net") TRY(check_namespace(file, "net"));
      if (parts.size() > 1 && (parts[1] == "kernel" || parts[1] == "fs")) TRY(check_namespace(file, "ipc"));
      return {};
    }
    if (parts[0] == "pressure" && !is_written(file)) return {};
    if (path_only) return {};
    if (parts.size() == 1 && is_one_of(kOfAll, parts[0])) return {};
    return refuse("a file of the kernel, which is not supported");
  }
  TRY(check_pids(dumping, file));
  parts.erase(parts.begin());
  std::optional<pid_t> tid;
  if (parts.size() > 1 && parts[0] == "task") {
    tid = parse_number<pid_t>(parts[1]);
    parts.erase(parts.begin(), parts.begin() + 2);
  }
  if (!is_inside(dumping, *pid, tid)) return refuse("tells of a process that is not part of the service");
  if (parts.empty() || path_only) return {};
  if (parts.size() == 1 && is_one_of(kOfTasks, parts[0])) return {};
  if (parts[0] == "net" && !is_written(file)) return {};
  return refuse("a file of the kernel, which is not supported");
}

Result<> check_control_group_file(const OpenFile& file) {
  if (!is_written(file)) return {};
  std::string_view name = std::string_view(file.link).substr(file.link.rfind('/') + 1);
  if (name.ends_with(".pressure")) return refuse("may have a trigger, which no kernel tells");
  // What may be moved where is decided by the credentials of whoever has opened these.
  if (name.starts_with("cgroup.") || name == "tasks" || name == "notify_on_release" || name == "release_agent")
    return refuse("a file of the kernel that is open for writing, which is not supported");
  return {};
}

Result<> dump_one(Dumping& dumping, const OpenFile& file) {
  std::string path = file.link;
  if (is_of_network(path)) {
    if (path.ends_with(kDeleted)) path.resize(path.size() - kDeleted.size());
  } else if (!leads_to(dumping.mounts.root.get(), path, file.stat)) {
    return refuse("a file of the kernel to which no path leads");
  }
  if (S_ISDIR(file.stat.st_mode) && file.info.position != 0)
    return refuse_for_now("a directory of the kernel that is being read");
  switch (file.file_system) {
    case PROC_SUPER_MAGIC:
      TRY(check_proc_file(dumping, file, TRY(path_in_proc(dumping, file, path))));
      break;
    case CGROUP_SUPER_MAGIC:
    case CGROUP2_SUPER_MAGIC:
      TRY(check_control_group_file(file));
  }
  image::KernelFile out;
  out.set_id(file.id);
  out.set_path(path);
  out.set_flags(static_cast<uint32_t>(file.flags()));
  out.set_position(file.info.position);
  out.set_type(file.stat.st_mode & S_IFMT);
  dumping.put_file(kName, kVersion, out);
  return {};
}

Result<> dump(Dumping& dumping, std::span<const OpenFile> files) { return dump_each(dumping, files, dump_one); }

Result<Fd> make_one(Restoring& restoring, const image::KernelFile& file) {
  int flags = static_cast<int>(file.flags());
  int open_flags = flags & O_PATH ? flags & (O_PATH | O_DIRECTORY | O_NOFOLLOW) : flags | O_NOCTTY;
  Fd fd = TRY(open_in_root(restoring.root.get(), file.path(), open_flags));
  struct stat found{};
  if (::fstat(fd.get(), &found)) return fail_errno(file.path());
  if ((found.st_mode & S_IFMT) != file.type()) return fail(file.path() + ": is of another type now");
  if (file.position() && ::lseek(fd.get(), static_cast<off_t>(file.position()), SEEK_SET) < 0)
    return fail_errno(file.path());
  return fd;
}

Result<Fds> make(Restoring& restoring, std::span<const Envelope> envelopes) {
  return make_each(restoring, envelopes, make_one);
}

}  // namespace

extern const Kind kKernelFile;
const Kind kKernelFile{
    .name = kName, .version = kVersion, .owns = owns, .dump = dump, .make = make, .of_processes = true};

}  // namespace ks::engine
