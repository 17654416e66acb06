// SPDX-License-Identifier: LGPL-2.1-or-later
// pipe(7) and fifo(7). The content is read by tee(2), which leaves it where it is.
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <map>
#include <optional>
#include <set>

#include "base/file.h"
#include "base/text.h"
#include "engine/carried_files.pb.h"
#include "engine/context/carried_files.h"
#include "engine/context/mapped_files.h"
#include "engine/context/named_file.h"
#include "engine/kinds/kind.h"
#include "engine/pipe.pb.h"

namespace ks::engine {

namespace {

constexpr std::string_view kName = "pipe";
constexpr uint32_t kVersion = 1;
constexpr int kSlot = 4096;  // a pipe has a buffer for each page of its size
constexpr std::string_view kDeleted = " (deleted)";
constexpr int kMostNames = 100;
constexpr int kLargeFile = 0100000;  // O_LARGEFILE of the kernel, which libc defines as nothing

using Place = image::CarriedFileList::File;

struct Ends {
  Fd read, write;
};

Result<Ends> make_pipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC)) return fail_errno("pipe");
  return Ends{Fd(fds[0]), Fd(fds[1])};
}

bool owns(const OpenFile& file) { return S_ISFIFO(file.stat.st_mode); }

bool is_fifo(const OpenFile& file) { return file.link.starts_with('/'); }

// An end that is there already is looked through: to open another one would wake those who wait for one.
Result<Fd> open_reader(std::span<const OpenFile* const> ends) {
  for (const OpenFile* end : ends)
    if ((end->flags() & O_ACCMODE) != O_WRONLY) return end->fetch();
  Fd writer = TRY(ends.front()->fetch());
  int queued = 0;
  if (::ioctl(writer.get(), FIONREAD, &queued)) return fail_errno("FIONREAD");
  if (queued == 0) return writer;
  return open_file(fmt::format("/proc/{}/fd/{}", ends.front()->pid, ends.front()->fd), O_RDONLY | O_NONBLOCK);
}

// One buffer of `from` after another. What was written as a packet ends the read that meets it; what was not does
// not.
Result<> read_pieces(const Ends& from, image::PipeEnd& out) {
  Ends one = TRY(make_pipe()), probe = TRY(make_pipe());
  if (::fcntl(one.write.get(), F_SETPIPE_SZ, kSlot) != kSlot) return fail_errno("F_SETPIPE_SZ");
  for (;;) {
    ssize_t moved = ::splice(from.read.get(), nullptr, one.write.get(), nullptr, 1 << 30, SPLICE_F_NONBLOCK);
    if (moved < 0 && errno == EAGAIN) return {};
    if (moved <= 0) return fail_errno("splice");
    auto bytes = static_cast<size_t>(moved);
    if (::splice(one.read.get(), nullptr, probe.write.get(), nullptr, bytes, SPLICE_F_NONBLOCK) != moved)
      return fail_errno("splice");
    TRY(write_all(probe.write.get(), "y", "pipe"));
    std::string content(bytes + 1, '\0');
    ssize_t got = ::read(probe.read.get(), content.data(), content.size());
    if (got != moved && got != moved + 1) return fail_errno("pipe");
    bool packet = got == moved;
    char rest;
    if (packet && ::read(probe.read.get(), &rest, 1) != 1) return fail_errno("pipe");
    content.resize(bytes);
    if (packet || out.pieces().empty() || out.pieces().rbegin()->packet()) {
      auto* piece = out.add_pieces();
      piece->set_packet(packet);
      piece->set_content(std::move(content));
    } else {
      out.mutable_pieces()->rbegin()->mutable_content()->append(content);
    }
  }
}

Result<> dump_content(std::span<const OpenFile* const> ends, image::PipeEnd& out) {
  Fd reader = TRY(open_reader(ends));
  int capacity = ::fcntl(reader.get(), F_GETPIPE_SZ);
  if (capacity < 0) return fail_errno("F_GETPIPE_SZ");
  out.set_capacity(static_cast<uint64_t>(capacity));
  int queued = 0;
  if (::ioctl(reader.get(), FIONREAD, &queued)) return fail_errno("FIONREAD");
  if (queued == 0) return {};
  Ends copy = TRY(make_pipe());
  // tee() duplicates whole buffers, so the copy needs as many slots as the original.
  if (::fcntl(copy.write.get(), F_SETPIPE_SZ, capacity) < 0) return fail_errno("F_SETPIPE_SZ");
  ssize_t got = ::tee(reader.get(), copy.write.get(), static_cast<size_t>(queued), SPLICE_F_NONBLOCK);
  if (got < 0) return fail_errno("tee");
  if (got != queued) return fail(fmt::format("tee gave {} of {} bytes", got, queued));
  TRY(read_pieces(copy, out));
  size_t slots = 0;
  for (const auto& piece : out.pieces()) slots += (piece.content().size() + kSlot - 1) / kSlot;
  if (slots > static_cast<size_t>(capacity) / kSlot) return refuse_for_now("holds more than fits it, by splice(2)");
  return {};
}

// The path by which a FIFO is found again, or where it has to be made again.
Result<> describe_fifo(const Dumping& dumping, const OpenFile& file, image::PipeEnd& out) {
  Place place;
  place.set_path(file.link);
  place.set_mode(file.stat.st_mode & 07777);
  place.set_uid(file.stat.st_uid);
  place.set_gid(file.stat.st_gid);
  place.set_file_system(file.file_system);
  if (file.stat.st_nlink == 0) {
    place.set_origin(Place::DELETED);
    if (file.link.ends_with(kDeleted)) place.set_path(file.link.substr(0, file.link.size() - kDeleted.size()));
    out.set_place(place.SerializeAsString());
    return {};
  }
  int root = dumping.mounts.root.get();
  if (!leads_to(root, file.link, file.stat))
    return refuse("its path leads elsewhere now (renamed, replaced or hidden by a mount)");
  if (!file.vanishes || dumping.is_refilled(file.link)) return {};
  if (file.stat.st_nlink > 1) return refuse("has other names too (hard links), which a new kernel would not know");
  place.set_origin(Place::NAMED);
  TRY(describe_above(root, file.link, file.stat.st_dev, place));
  out.set_place(place.SerializeAsString());
  return {};
}

Result<std::optional<pid_t>> outside_user(const Dumping& dumping, const OpenFile& fifo) {
  for (const auto& name : TRY(list_directory("/proc"))) {
    auto pid = parse_number<pid_t>(name);
    if (!pid || *pid == ::getpid() || dumping.descriptors.contains(*pid)) continue;
    auto fds = list_directory(fmt::format("/proc/{}/fd", *pid));
    if (!fds) continue;  // ended meanwhile
    for (const auto& fd : *fds) {
      struct stat stat{};
      std::string path = fmt::format("/proc/{}/fd/{}", *pid, fd);
      if (::stat(path.c_str(), &stat) == 0 && stat.st_dev == fifo.stat.st_dev && stat.st_ino == fifo.stat.st_ino)
        return pid;
    }
  }
  return std::nullopt;
}

// A pipe of notifications (Documentation/core-api/watch_queue.rst) takes no data, not even none.
bool takes_data(std::span<const OpenFile* const> ends) {
  for (const OpenFile* end : ends)
    if ((end->flags() & O_ACCMODE) != O_RDONLY)
      if (auto fd = end->fetch()) return ::write(fd->get(), "", 0) == 0 || errno != EXDEV;
  return true;
}

// Of a pipe without a name, of which all ends that anybody has open are known: the kernel may have one too, as that
// of an automounter (autofs), or it may be on its way from one process outside to another.
Result<bool> has_unseen_end(std::span<const OpenFile* const> ends) {
  bool reads = false, writes = false;
  for (const OpenFile* end : ends) {
    int access = end->flags() & O_ACCMODE;
    reads |= access != O_WRONLY;
    writes |= access != O_RDONLY;
  }
  if (ends.empty() || (reads && writes)) return false;
  Fd one = TRY(ends.front()->fetch());
  pollfd told{.fd = one.get(), .events = 0, .revents = 0};
  if (::poll(&told, 1, 0) < 0) return fail_errno("poll");
  return !(told.revents & (reads ? POLLHUP : POLLERR));
}

Result<> check_pipe(Dumping& dumping, const OpenFile& file, std::span<const OpenFile* const> ends,
                    image::PipeEnd& out) {
  if (is_fifo(file)) TRY(describe_fifo(dumping, file, out));
  auto user = is_fifo(file) ? TRY(outside_user(dumping, file)) : TRY(dumping.outside.holder(file.link));
  if (user) return refuse(fmt::format("shared with pid {}, which is not part of it", *user));
  if (!takes_data(ends)) return refuse("a pipe of notifications, which cannot be carried");
  if (!is_fifo(file) && TRY(has_unseen_end(ends)))
    return refuse_for_now(
        "its other end is held by something that shows in no process (the kernel, or a message between processes "
        "outside)");
  return {};
}

Result<> dump(Dumping& dumping, std::span<const OpenFile> files) {
  std::map<std::pair<dev_t, ino_t>, std::vector<const OpenFile*>> pipes;
  for (const OpenFile& file : files) {
    auto& ends = pipes[{file.stat.st_dev, file.stat.st_ino}];
    if (!(file.flags() & O_PATH)) ends.push_back(&file);
  }
  std::set<std::pair<dev_t, ino_t>> told;
  for (const OpenFile& file : files) {
    auto key = std::pair(file.stat.st_dev, file.stat.st_ino);
    const auto& ends = pipes[key];
    image::PipeEnd out;
    out.set_id(file.id);
    out.set_pipe(static_cast<uint64_t>(std::distance(pipes.begin(), pipes.find(key))));
    out.set_flags(static_cast<uint32_t>(file.flags()));
    if (is_fifo(file)) out.set_path(file.link);
    out.set_inode(file.stat.st_ino);
    out.set_refilled(is_fifo(file) && dumping.is_refilled(file.link));
    if (told.insert(key).second) {
      auto checked = check_pipe(dumping, file, ends, out);
      if (checked && !ends.empty()) checked = dump_content(ends, out);
      if (!checked && checked.error().refusal)
        dumping.refuse(file.pid, file.object(), checked.error().what);
      else
        TRY(in(file.object(), std::move(checked)));
    }
    dumping.put_file(kName, kVersion, out);
  }
  return {};
}

Result<> make_at(int directory, const std::string& name, const Place& place) {
  if (::mkfifoat(directory, name.c_str(), 0600)) return fail_errno("mkfifo");
  if (::fchownat(directory, name.c_str(), place.uid(), place.gid(), AT_SYMLINK_NOFOLLOW) ||
      ::fchmodat(directory, name.c_str(), place.mode(), 0))
    return fail_errno("chown");
  return {};
}

// Under its last name, if nobody has taken that, for as long as it takes to open it.
Result<Fd> make_passing(int directory, const Place& place, int flags) {
  for (int attempt = 0; attempt < kMostNames; ++attempt) {
    std::string name = place.path().substr(place.path().rfind('/') + 1);
    if (attempt) name = fmt::format(".kernel-swap-{}-{}", ::getpid(), attempt);
    auto made = make_at(directory, name, place);
    if (!made && made.error().code == EEXIST) continue;
    Result<Fd> fd = made ? open_at(directory, name, flags) : fail(made.error().what, made.error().code);
    if (made) ::unlinkat(directory, name.c_str(), 0);
    return fd;
  }
  return fail("no name is free");
}

Result<Fd> remake_fifo(const Restoring& restoring, const Place& place, int flags) {
  int root = restoring.root.get();
  if (place.origin() == Place::DELETED) {
    std::string above = place.path().substr(0, std::max<size_t>(place.path().rfind('/'), 1));
    if (auto directory = open_in_root(root, above, O_RDONLY | O_DIRECTORY))
      if (auto made = make_passing(directory->get(), place, flags)) return made;
    return make_passing(restoring.image.directory(), place, flags);
  }
  Fd above = TRY(open_above(root, place));
  struct statfs system{};
  if (::fstatfs(above.get(), &system)) return fail_errno("statfs");
  if (static_cast<uint64_t>(system.f_type) != place.file_system())
    return fail("its file system in memory is not mounted there");
  std::string name = place.path().substr(place.path().rfind('/') + 1);
  auto made = make_at(above.get(), name, place);
  // As after a swap that did not happen, or when somebody else has been quicker.
  if (!made && made.error().code != EEXIST) return fail(made.error().what, made.error().code);
  Fd fd = TRY(open_at(above.get(), name, flags | O_NOFOLLOW | O_NOCTTY));
  struct stat found{};
  if (::fstat(fd.get(), &found)) return fail_errno("fstat");
  if (!S_ISFIFO(found.st_mode) || found.st_uid != place.uid()) return fail("something else has its place");
  return fd;
}

// A FIFO is open for both directions while its ends are made, so that none of them waits for another.
Result<Ends> open_fifo(const Restoring& restoring, const image::PipeEnd& end) {
  int flags = end.capacity() ? O_RDWR | O_NONBLOCK : O_PATH | O_NOFOLLOW;
  Place place;
  if (!place.ParseFromString(end.place())) return fail(end.path() + ": its place is not understood");
  Fd fd = TRY(end.place().empty() ? open_in_root(restoring.root.get(), end.path(), flags)
                                  : in(end.path(), remake_fifo(restoring, place, flags)));
  struct stat found{};
  if (::fstat(fd.get(), &found)) return fail_errno(end.path());
  bool another = end.refilled() || !end.place().empty();
  if (!S_ISFIFO(found.st_mode) || (!another && found.st_ino != end.inode()))
    return fail(end.path() + ": not the FIFO that was open; it has been replaced");
  int queued = 0;
  if (end.capacity() && ::ioctl(fd.get(), FIONREAD, &queued)) return fail_errno("FIONREAD");
  if (queued) return fail(end.path() + ": somebody else has written to it");
  Fd other(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
  if (!other) return fail_errno(end.path());
  return Ends{std::move(fd), std::move(other)};
}

Result<> fill(const Fd& writer, const image::PipeEnd& end) {
  if (end.capacity() == 0) return {};
  if (::fcntl(writer.get(), F_SETPIPE_SZ, static_cast<int>(end.capacity())) < 0)
    return fail_errno(fmt::format("pipe of {} bytes", end.capacity()));
  for (const auto& piece : end.pieces()) {
    if (::fcntl(writer.get(), F_SETFL, O_NONBLOCK | (piece.packet() ? O_DIRECT : 0))) return fail_errno("pipe flags");
    TRY(write_all(writer.get(), piece.content(), "pipe"));
  }
  return {};
}

// Only pipe2(2) makes descriptions without O_LARGEFILE, one for each end. All others were opened, each with its own
// flags.
Result<Fd> make_end(const Ends& pipe, int flags, bool fifo) {
  const Fd& side = (flags & O_ACCMODE) == O_WRONLY ? pipe.write : pipe.read;
  if (!fifo && !(flags & (kLargeFile | O_PATH))) {
    Fd fd(::fcntl(side.get(), F_DUPFD_CLOEXEC, 0));
    if (!fd) return fail_errno("pipe");
    return fd;
  }
  int how = flags & O_PATH ? O_PATH : (flags & ~O_DIRECT) | O_NONBLOCK;
  return open_file(fmt::format("/proc/self/fd/{}", side.get()), how);
}

Result<Fds> make(Restoring& restoring, std::span<const Envelope> envelopes) {
  Fds made;
  std::map<uint64_t, Ends> pipes;
  for (const Envelope& envelope : envelopes) {
    image::PipeEnd end;
    TRY(parse_body(envelope, end));
    bool fifo = !end.path().empty();
    auto [at, fresh] = pipes.try_emplace(end.pipe());
    Ends& pipe = at->second;
    if (fresh) {
      pipe = fifo ? TRY(open_fifo(restoring, end)) : TRY(make_pipe());
      TRY(in(end.path(), fill(pipe.write, end)));
    }
    int flags = static_cast<int>(end.flags());
    Fd fd = TRY(make_end(pipe, flags, fifo));
    if (!(flags & O_PATH) && ::fcntl(fd.get(), F_SETFL, flags)) return fail_errno("pipe flags");
    made.emplace(end.id(), std::move(fd));
  }
  return made;
}

}  // namespace

extern const Kind kPipe;
const Kind kPipe{.name = kName, .version = kVersion, .owns = owns, .dump = dump, .make = make};

}  // namespace ks::engine
