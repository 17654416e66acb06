// SPDX-License-Identifier: LGPL-2.1-or-later
// inotify(7). fdinfo tells each watch with a handle of what it watches; the handle leads to a path, and that is where
// a restore looks. Watch descriptors are given out in ascending order, so that those which are gone are made and
// removed.
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "base/text.h"
#include "engine/context/mapped_files.h"
#include "engine/context/named_file.h"
#include "engine/inotify.pb.h"
#include "engine/kernel/fdinfo.h"
#include "engine/kernel/file_system.h"
#include "engine/kinds/kind.h"

namespace ks::engine {

namespace {

constexpr std::string_view kName = "inotify";
constexpr uint32_t kVersion = 2;  // 1: of no directories that are made anew
// To count up to it takes about half a second.
constexpr int kHighestWatch = 1 << 19;
constexpr int kDrainEvery = 4096;  // below fs.inotify.max_queued_events

bool owns(const OpenFile& file) { return file.link == "anon_inode:inotify" || file.link == "anon_inode:[inotify]"; }

Result<> dump_watch(Dumping& dumping, const OpenFile& file, HandleFinder& finder, const InotifyLine& line,
                    image::Inotify::Watch& out) {
  if (line.handle.empty()) return refuse("watches a file of a file system that does not tell which one");
  auto watched = TRY(finder.find(line.device, line.handle_type, line.handle));
  if (dumping.vanishes(watched.path, watched.file_system)) {
    // What is mounted is there as soon as it is mounted, and what is refilled as soon as it is filled.
    bool there = watched.mount_root || dumping.is_refilled(watched.path);
    if (!there && (!S_ISDIR(watched.stat.st_mode) || !dumping.is_made_anew(watched.path)))
      return refuse("watches " + watched.path + ", which is gone with the next boot (tmpfs)");
    out.set_another(true);
    out.set_made_anew(!there);
    if (!there)
      dumping.remark(file.pid, file.object(),
                     "watches " + watched.path + ", which a boot makes anew; what changes with that it is not told");
  }
  if (is_of_kernel(watched.file_system)) return refuse("watches " + watched.path + ", a file of the kernel");
  out.set_number(line.watch);
  out.set_mask(line.mask);
  out.set_path(watched.path);
  out.set_inode(watched.stat.st_ino);
  out.set_mode(watched.stat.st_mode & S_IFMT);
  return {};
}

Result<> dump_one(Dumping& dumping, const OpenFile& file) {
  Fd mine = TRY(file.fetch());
  int queued = 0;
  if (::ioctl(mine.get(), FIONREAD, &queued)) return fail_errno("FIONREAD");
  if (queued) return refuse_for_now("has events that have not been read and cannot be put back");
  std::vector<InotifyLine> lines;
  for (const auto& text : file.info.rest)
    if (text.starts_with("inotify ")) lines.push_back(TRY(parse_inotify_line(text)));
  std::ranges::sort(lines, {}, &InotifyLine::watch);
  if (!lines.empty() && lines.back().watch > kHighestWatch)
    return refuse(fmt::format("has had more than {} watches, too many to count up to", kHighestWatch));
  image::Inotify out;
  out.set_id(file.id);
  out.set_flags(static_cast<uint32_t>(file.flags()));
  HandleFinder finder(dumping.mounts);
  for (const auto& line : lines) TRY(dump_watch(dumping, file, finder, line, *out.add_watches()));
  dumping.put_file(kName, kVersion, out);
  return {};
}

Result<> dump(Dumping& dumping, std::span<const OpenFile> files) { return dump_each(dumping, files, dump_one); }

Result<Fds> make(Restoring&, std::span<const Envelope> envelopes) {
  Fds made;
  for (const Envelope& envelope : envelopes) {
    image::Inotify file;
    TRY(parse_body(envelope, file));
    Fd fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (!fd) return fail_errno("inotify_init");
    made.emplace(file.id(), std::move(fd));
  }
  return made;
}

void drain(int fd) {
  char events[16384];
  while (::read(fd, events, sizeof events) > 0) {
  }
}

// Uses up the numbers below `number`.
Result<> count_up(int fd, int& last, int number) {
  while (last + 1 < number) {
    int got = ::inotify_add_watch(fd, "/", IN_DELETE_SELF);
    if (got < 0 || ::inotify_rm_watch(fd, got)) return fail_errno("inotify_add_watch");
    if (got != last + 1) return fail(fmt::format("watch {} came out as {}", last + 1, got));
    last = got;
    if (last % kDrainEvery == 0) drain(fd);
  }
  return {};
}

Result<> add_watch(const Restoring& restoring, int fd, int& last, const image::Inotify::Watch& watch) {
  TRY(count_up(fd, last, watch.number()));
  if (watch.made_anew()) {
    std::error_code there;  // or it cannot be made, and then it cannot be opened either
    std::filesystem::create_directories(watch.path(), there);
  }
  Fd watched = TRY(open_in_root(restoring.root.get(), watch.path(), O_PATH | O_NOFOLLOW));
  struct stat found{};
  if (::fstat(watched.get(), &found)) return fail_errno(watch.path());
  bool same = watch.another() || found.st_ino == watch.inode();
  if (!same || (found.st_mode & S_IFMT) != watch.mode())
    return fail(watch.path() + ": not the file that was watched; it has been replaced");
  int got = ::inotify_add_watch(fd, fmt::format("/proc/self/fd/{}", watched.get()).c_str(), watch.mask());
  if (got < 0) return fail_errno(watch.path());
  if (got != watch.number())
    return fail(fmt::format("{}: watch {} came out as {}", watch.path(), watch.number(), got));
  last = got;
  return {};
}

// Late, lest watches see how the engine opens files.
Result<> connect(Restoring& restoring, std::span<const Envelope> envelopes) {
  for (const Envelope& envelope : envelopes) {
    image::Inotify file;
    TRY(parse_body(envelope, file));
    int fd = TRY(restoring.open_file(file.id()));
    int last = 0;
    for (const auto& watch : file.watches()) TRY(add_watch(restoring, fd, last, watch));
    drain(fd);
    if (::fcntl(fd, F_SETFL, static_cast<int>(file.flags()))) return fail_errno("inotify flags");
  }
  return {};
}

}  // namespace

extern const Kind kInotify;
const Kind kInotify{.name = kName, .version = kVersion, .owns = owns, .dump = dump, .make = make, .connect = connect};

}  // namespace ks::engine
