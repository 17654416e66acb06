// SPDX-License-Identifier: LGPL-2.1-or-later
// fanotify(7), groups that are only told of what has happened. fdinfo tells flags and marks; what an inode's mark
// belongs to is found by its handle. A dump makes group and marks once more, for itself, and compares what fdinfo
// tells of both.
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/fanotify.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <ranges>
#include <thread>

#include "base/file.h"
#include "base/text.h"
#include "engine/context/named_file.h"
#include "engine/fanotify.pb.h"
#include "engine/kernel/fdinfo.h"
#include "engine/kernel/file_system.h"
#include "engine/kinds/kind.h"

namespace ks::engine {

namespace {

using Mark = image::Fanotify::Mark;

constexpr std::string_view kName = "fanotify";
constexpr uint32_t kVersion = 1;

// Of linux/fanotify.h, some of which the C library's header lacks.
constexpr uint32_t kClasses = 0xc, kReportPidFd = 0x80, kReportFid = 0x200, kReportFdError = 0x2000;
constexpr uint32_t kAdminFlags =
    FAN_UNLIMITED_QUEUE | FAN_UNLIMITED_MARKS | kReportPidFd | FAN_REPORT_TID | kReportFdError;
constexpr uint32_t kKnownFlags = 0x3 | FAN_ENABLE_AUDIT | kAdminFlags | kReportFid | 0x400 | 0x800 | 0x1000;
constexpr uint32_t kMarkIgnore = 0x400, kMarkSurvive = 0x40, kMarkEvictable = 0x200;
constexpr uint8_t kInfoOfPidFd = 4;  // FAN_EVENT_INFO_TYPE_PIDFD

bool owns(const OpenFile& file) { return file.link == "anon_inode:[fanotify]"; }

// By a thread that is that user for it, with or without privilege.
Result<Fd> make_group(const image::Fanotify& file) {
  Result<Fd> made;
  std::thread([&]() {
    made = [&]() -> Result<Fd> {
      if (::prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)) return fail_errno("PR_SET_SECUREBITS");
      if (::syscall(SYS_setresuid, -1, file.user(), -1)) return fail_errno("setresuid");
      if (!file.privileged()) {
        __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
        __user_cap_data_struct none[2]{};
        if (::syscall(SYS_capset, &header, none)) return fail_errno("capset");
      }
      // Nonblocking is a flag of the file as well; it is drained without waiting.
      Fd fd(::fanotify_init(file.init_flags(), file.event_flags()));
      if (!fd) return fail_errno("fanotify_init");
      return fd;
    }();
  }).join();
  if (made && (::fcntl(made->get(), F_SETFD, FD_CLOEXEC) || ::fcntl(made->get(), F_SETFL, O_NONBLOCK)))
    return fail_errno("fanotify");
  return made;
}

Result<> add_mark(int root, int fd, const Mark& mark) {
  Fd marked = TRY(open_in_root(root, mark.path(), O_PATH | O_NOFOLLOW));
  struct statx found{};
  if (::statx(marked.get(), "", AT_EMPTY_PATH, STATX_BASIC_STATS, &found)) return fail_errno(mark.path());
  if (mark.object() == Mark::INODE) {
    bool same = mark.another() || found.stx_ino == mark.inode();
    if (!same || (found.stx_mode & S_IFMT) != mark.mode())
      return fail(mark.path() + ": not the file that was watched; it has been replaced");
  } else if (!(found.stx_attributes & STATX_ATTR_MOUNT_ROOT)) {
    return fail(mark.path() + ": nothing is mounted there");
  }
  uint32_t how = FAN_MARK_ADD | (mark.flags() & kMarkEvictable);
  if (mark.object() == Mark::MOUNT) how |= FAN_MARK_MOUNT;
  if (mark.object() == Mark::FILE_SYSTEM) how |= FAN_MARK_FILESYSTEM;
  uint32_t ignore = mark.flags() & kMarkIgnore ? kMarkIgnore : FAN_MARK_IGNORED_MASK;
  std::string path = fmt::format("/proc/self/fd/{}", marked.get());
  if (mark.mask() && ::fanotify_mark(fd, how, mark.mask(), AT_FDCWD, path.c_str())) return fail_errno(mark.path());
  if (mark.ignored() &&
      ::fanotify_mark(fd, how | ignore | (mark.flags() & kMarkSurvive), mark.ignored(), AT_FDCWD, path.c_str()))
    return fail_errno(mark.path());
  return {};
}

struct Facts {
  FanotifyGroup group;
  std::vector<FanotifyMark> marks;
};
Result<Facts> parse_facts(const std::vector<std::string>& lines) {
  Facts facts;
  for (const auto& line : lines) {
    if (line.starts_with("fanotify flags:"))
      facts.group = TRY(parse_fanotify_group(line));
    else if (line.starts_with("fanotify "))
      facts.marks.push_back(TRY(parse_fanotify_mark(line)));
  }
  return facts;
}

Result<> describe_mark(const Dumping& dumping, HandleFinder& finder, const FanotifyMark& line, Mark& out) {
  out.set_flags(line.flags);
  out.set_mask(line.mask);
  out.set_ignored(line.ignored);
  if (line.object == FanotifyMark::Object::unknown) return refuse("has a mark of an unknown kind");
  if (line.object == FanotifyMark::Object::inode) {
    if (line.handle.empty()) return refuse("watches a file of a file system that does not tell which one");
    auto watched = TRY(finder.find(line.device, line.handle_type, line.handle));
    if (dumping.vanishes(watched.path, watched.file_system)) {
      // What is mounted is there as soon as it is mounted, and what is refilled as soon as it is filled.
      if (!watched.mount_root && !dumping.is_refilled(watched.path))
        return refuse("watches " + watched.path + ", which is gone with the next boot (tmpfs)");
      out.set_another(true);
    } else if (is_of_kernel(watched.file_system)) {
      return refuse("watches " + watched.path + ", a file of the kernel");
    }
    out.set_path(watched.path);
    out.set_inode(watched.stat.st_ino);
    out.set_mode(watched.stat.st_mode & S_IFMT);
    return {};
  }
  bool mount = line.object == FanotifyMark::Object::mount;
  out.set_object(mount ? Mark::MOUNT : Mark::FILE_SYSTEM);
  for (const MountPoint& point : dumping.mounts.points)
    if (mount ? point.id == line.mount : point.device == line.device) {
      out.set_path(point.where);
      return {};
    }
  return refuse(mount ? "watches a mount that is not the service's" : "watches a file system that is not mounted");
}

Result<bool> has_admin(pid_t pid) {
  auto status = TRY(parse_status(TRY(read_record(proc_path(pid, "status")))));
  return status.cap_effective >> CAP_SYS_ADMIN & 1;
}

// Before it looks at the mask, a kernel until 6.15 denies a group that was made without privilege to mark a mount;
// and nobody may have this group ask for permission.
bool is_denied_mounts(int fd) {
  return ::fanotify_mark(fd, FAN_MARK_ADD | FAN_MARK_MOUNT, FAN_OPEN_PERM, AT_FDCWD, "/") && errno == EPERM;
}

// Who has made it is not told: one without privilege is not told whose processes do what.
Result<bool> is_privileged(const OpenFile& file, int fd, const Facts& facts) {
  if (facts.group.flags & kAdminFlags || !(facts.group.flags & (kReportFid | 0x400))) return true;
  if (is_denied_mounts(fd)) return false;
  bool of_more = std::ranges::any_of(
      facts.marks, [](const FanotifyMark& mark) { return mark.object != FanotifyMark::Object::inode; });
  if (of_more || TRY(has_admin(file.pid))) return true;
  image::Fanotify plain;
  plain.set_init_flags(facts.group.flags);
  Fd other = TRY(make_group(plain));
  if (is_denied_mounts(other.get())) return true;
  return refuse("may have been made with privilege or without, which this kernel does not tell");
}

Result<> dump_one(Dumping& dumping, const OpenFile& file) {
  Fd mine = TRY(file.fetch());
  int queued = 0;
  if (::ioctl(mine.get(), FIONREAD, &queued)) return fail_errno("FIONREAD");
  if (queued) return refuse_for_now("has events that have not been read and cannot be put back");
  Facts facts = TRY(parse_facts(file.info.rest));
  if (facts.group.flags & kClasses)
    return refuse("can be asked for permission by other processes, which is not supported");
  if (facts.group.flags & ~kKnownFlags)
    return refuse(fmt::format("reports in an unknown way ({:#x})", facts.group.flags & ~kKnownFlags));
  if (dumping.users.of(file.pid)) return refuse("in a user namespace, which is not supported yet");
  image::Fanotify out;
  out.set_id(file.id);
  out.set_flags(static_cast<uint32_t>(file.flags()));
  out.set_init_flags(facts.group.flags);
  out.set_event_flags(facts.group.event_flags);
  out.set_privileged(TRY(is_privileged(file, mine.get(), facts)));
  out.set_user(TRY(parse_status(TRY(read_record(proc_path(file.pid, "status"))))).uids[1]);
  HandleFinder finder(dumping.mounts);
  // The last one that has been added is told first.
  for (const auto& mark : std::views::reverse(facts.marks))
    TRY(describe_mark(dumping, finder, mark, *out.add_marks()));

  Fd again = TRY(make_group(out));
  for (const auto& mark : out.marks())
    if (auto added = add_mark(dumping.mounts.root.get(), again.get(), mark); !added)
      return refuse("could not be made again: " + added.error().what);
  auto info = TRY(parse_fdinfo(TRY(read_file(fmt::format("/proc/self/fdinfo/{}", again.get())))));
  Facts made = TRY(parse_facts(info.rest));
  bool same = made.group == facts.group && made.marks.size() == facts.marks.size();
  for (size_t i = 0; same && i < made.marks.size(); ++i)
    same = made.marks[i].object == facts.marks[i].object && made.marks[i].flags == facts.marks[i].flags &&
           made.marks[i].mask == facts.marks[i].mask && made.marks[i].ignored == facts.marks[i].ignored;
  if (!same) return refuse("made again, it would not be as it is");
  dumping.put_file(kName, kVersion, out);
  return {};
}

Result<> dump(Dumping& dumping, std::span<const OpenFile> files) { return dump_each(dumping, files, dump_one); }

Result<Fd> make_one(Restoring&, const image::Fanotify& file) { return make_group(file); }
Result<Fds> make(Restoring& restoring, std::span<const Envelope> envelopes) {
  return make_each<image::Fanotify>(restoring, envelopes, make_one);
}

Result<> connect(Restoring& restoring, std::span<const Envelope> envelopes) {
  for (const Envelope& envelope : envelopes) {
    image::Fanotify file;
    TRY(parse_body(envelope, file));
    int fd = TRY(restoring.open_file(file.id()));
    for (const auto& mark : file.marks()) TRY(add_mark(restoring.root.get(), fd, mark));
  }
  return {};
}

void close_all_of(const fanotify_event_metadata& event) {
  if (event.fd >= 0) ::close(event.fd);
  auto* at = reinterpret_cast<const char*>(&event);
  for (size_t offset = event.metadata_len; offset + sizeof(fanotify_event_info_header) <= event.event_len;) {
    fanotify_event_info_header header;
    std::memcpy(&header, at + offset, sizeof header);
    int pidfd = -1;
    if (header.info_type == kInfoOfPidFd) std::memcpy(&pidfd, at + offset + sizeof header, sizeof pidfd);
    if (pidfd >= 0) ::close(pidfd);
    offset += std::max<size_t>(header.len, sizeof header);
  }
}

// What the engine itself has done meanwhile.
void drain(int fd) {
  constexpr int kMostFailures = 1000;  // an event whose file cannot be opened is gone too
  alignas(fanotify_event_metadata) char events[1024];
  for (int failures = 0; failures < kMostFailures;) {
    ssize_t got = ::read(fd, events, sizeof events);
    if (got == 0 || (got < 0 && errno == EAGAIN)) return;
    if (got < 0) {
      ++failures;
      continue;
    }
    auto* event = reinterpret_cast<const fanotify_event_metadata*>(events);
    for (; FAN_EVENT_OK(event, got); event = FAN_EVENT_NEXT(event, got)) close_all_of(*event);
  }
}

Result<> release(Restoring& restoring, std::span<const Envelope> envelopes) {
  for (const Envelope& envelope : envelopes) {
    image::Fanotify file;
    TRY(parse_body(envelope, file));
    int fd = TRY(restoring.open_file(file.id()));
    drain(fd);
    if (::fcntl(fd, F_SETFL, static_cast<int>(file.flags()))) return fail_errno("fanotify flags");
  }
  return {};
}

}  // namespace

extern const Kind kFanotify;
const Kind kFanotify{.name = kName,
                     .version = kVersion,
                     .owns = owns,
                     .dump = dump,
                     .make = make,
                     .connect = connect,
                     .release = release,
                     .of_holder = true};

}  // namespace ks::engine
