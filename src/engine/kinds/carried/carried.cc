// SPDX-License-Identifier: LGPL-2.1-or-later
// Open files of which the content is part of the image: memfds, deleted files and directories, and what lies on a
// file system in memory. The files themselves are made by CarriedFiles, since mappings lead to them too.
#include <fcntl.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/carried.pb.h"
#include "engine/kinds/kind.h"

namespace ks::engine {

namespace {

constexpr std::string_view kName = "carried";
constexpr uint32_t kVersion = 1;

bool owns(const OpenFile& file) {
  if (!(S_ISREG(file.stat.st_mode) || S_ISDIR(file.stat.st_mode)) || !file.link.starts_with('/')) return false;
  return file.stat.st_nlink == 0 || file.vanishes;
}

Result<> dump(Dumping& dumping, std::span<const OpenFile> files) {
  for (const OpenFile& file : files) {
    if (S_ISDIR(file.stat.st_mode) && file.info.position != 0) {
      dumping.refuse(file.pid, file.object(), for_now("a directory that is being read, which is not supported yet"));
      continue;
    }
    int flags = file.flags();
    CarriedUse use{
        .writable = !(flags & O_PATH) && (flags & O_ACCMODE) != O_RDONLY, .open_file = file.id, .flags = flags};
    auto carried = dumping.carried_files.add(dumping.mounts.root.get(), file.magic_link(), use);
    if (!carried && carried.error().refusal) {
      dumping.refuse(file.pid, file.object(), carried.error().what);
      continue;
    }
    auto id = TRY(in(file.object(), std::move(carried)));
    if (!id) return fail(file.object() + ": is kept by a disk now");
    image::OpenCarriedFile out;
    out.set_id(file.id);
    out.set_carried(*id);
    out.set_flags(static_cast<uint32_t>(flags));
    out.set_position(file.info.position);
    dumping.put_file(kName, kVersion, out);
  }
  return {};
}

Result<Fd> make_one(Restoring& restoring, const image::OpenCarriedFile& file) {
  Fd fd;
  if (auto opened = restoring.carried.openings.extract(file.id()); !opened.empty())
    fd = std::move(opened.mapped());
  else
    fd = TRY(reopen(TRY(restoring.carried_file(file.carried())), static_cast<int>(file.flags())));
  if (file.position() && ::lseek(fd.get(), static_cast<off_t>(file.position()), SEEK_SET) < 0)
    return fail_errno("lseek");
  return fd;
}

Result<Fds> make(Restoring& restoring, std::span<const Envelope> envelopes) {
  return make_each(restoring, envelopes, make_one);
}

}  // namespace

extern const Kind kCarried;
const Kind kCarried{.name = kName, .version = kVersion, .owns = owns, .dump = dump, .make = make};

}  // namespace ks::engine
