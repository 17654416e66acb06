// SPDX-License-Identifier: LGPL-2.1-or-later
// pipe(7). The content is read by tee(2), which leaves it where it is.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <map>
#include <set>

#include "base/file.h"
#include "engine/kinds/kind.h"
#include "engine/pipe.pb.h"

namespace ks::engine {

namespace {

constexpr std::string_view kName = "pipe";
constexpr uint32_t kVersion = 1;
constexpr int kLargeFile = 0100000;  // O_LARGEFILE of the kernel, which libc defines as nothing

struct Ends {
  Fd read, write;
};

Result<Ends> make_pipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC)) return fail_errno("pipe");
  return Ends{Fd(fds[0]), Fd(fds[1])};
}

bool owns(const OpenFile& file) { return file.link.starts_with("pipe:["); }

Result<> dump_content(const OpenFile& end, image::PipeEnd& out) {
  // A description that can only write leads to the pipe all the same: open its other side through /proc.
  Fd reader = TRY(open_file(fmt::format("/proc/{}/fd/{}", end.pid, end.fd), O_RDONLY | O_NONBLOCK));
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
  std::string content(static_cast<size_t>(queued), '\0');
  TRY(read_exactly(copy.read.get(), std::as_writable_bytes(std::span(content)), "pipe"));
  out.set_content(std::move(content));
  return {};
}

Result<> dump(Dumping& dumping, std::span<const OpenFile> files) {
  std::set<ino_t> told;
  for (const OpenFile& file : files) {
    if (file.flags() & O_DIRECT) {
      dumping.refuse(file.pid, file.object(), "a pipe in packet mode, which is not supported yet");
      continue;
    }
    image::PipeEnd out;
    out.set_id(file.id);
    out.set_pipe(file.stat.st_ino);
    out.set_flags(static_cast<uint32_t>(file.flags()));
    if (told.insert(file.stat.st_ino).second) {
      if (auto holder = TRY(dumping.outside.holder(file.link)))
        dumping.refuse(file.pid, file.object(), fmt::format("shared with pid {}, which is not part of it", *holder));
      TRY(in(file.object(), dump_content(file, out)));
    }
    dumping.put_file(kName, kVersion, out);
  }
  return {};
}

Result<Fds> make(Restoring&, std::span<const Envelope> envelopes) {
  Fds made;
  std::map<uint64_t, Ends> pipes;
  for (const Envelope& envelope : envelopes) {
    image::PipeEnd end;
    TRY(parse_body(envelope, end));
    auto [at, fresh] = pipes.try_emplace(end.pipe());
    Ends& pipe = at->second;
    if (fresh) {
      pipe = TRY(make_pipe());
      if (::fcntl(pipe.write.get(), F_SETPIPE_SZ, static_cast<int>(end.capacity())) < 0)
        return fail_errno(fmt::format("pipe of {} bytes", end.capacity()));
      TRY(write_all(pipe.write.get(), end.content(), "pipe"));
    }
    int flags = static_cast<int>(end.flags());
    const Fd& side = (flags & O_ACCMODE) == O_WRONLY ? pipe.write : pipe.read;
    // Only pipe2(2) makes descriptions without O_LARGEFILE, one for each end. All others were opened, each with its
    // own flags.
    Fd fd = flags & kLargeFile ? TRY(open_file(fmt::format("/proc/self/fd/{}", side.get()), flags | O_NONBLOCK))
                               : Fd(::fcntl(side.get(), F_DUPFD_CLOEXEC, 0));
    if (!fd) return fail_errno("pipe");
    if (::fcntl(fd.get(), F_SETFL, flags)) return fail_errno("pipe flags");
    made.emplace(end.id(), std::move(fd));
  }
  return made;
}

}  // namespace

extern const Kind kPipe;
const Kind kPipe{.name = kName, .version = kVersion, .owns = owns, .dump = dump, .make = make};

}  // namespace ks::engine
