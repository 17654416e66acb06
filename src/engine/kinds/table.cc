// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kinds/table.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"

namespace ks::engine {

namespace {

// 0: the same open file; 1 and 2: an order that the kernel makes up, good for sorting.
Result<int> compare(const OpenFile& file, pid_t pid, int fd) {
  long order = ::syscall(SYS_kcmp, file.pid, pid, KCMP_FILE, file.fd, fd);
  if (order < 0) return fail_errno("kcmp");
  return static_cast<int>(order);
}

// What an open file may have beyond its kind's state.
Result<> refuse_extras(Dumping& dumping, const OpenFile& file) {
  if (file.info.value("lock"))
    dumping.refuse(file.pid, file.object(), "holds a file lock, which is not supported yet");
  if (file.info.flags & O_ASYNC)
    dumping.refuse(file.pid, file.object(), "sends signals (O_ASYNC), which is not supported yet");
  if (file.info.flags & O_PATH) return {};
  Fd mine = TRY(in(file.object(), file.fetch()));
  if (::fcntl(mine.get(), F_GETOWN) || ::fcntl(mine.get(), F_GETSIG) > 0)
    dumping.refuse(file.pid, file.object(), "has an owner to signal (F_SETOWN), which is not supported yet");
  if (::fcntl(mine.get(), F_GETLEASE) > 0 && ::fcntl(mine.get(), F_GETLEASE) != F_UNLCK)
    dumping.refuse(file.pid, file.object(), "holds a lease, which is not supported yet");
  return {};
}

}  // namespace

Result<uint32_t> OpenFileTable::add(StoppedProcess& process, int fd) {
  OpenFile file{.pid = process.pid, .fd = fd};
  std::string name = process.proc(fmt::format("fd/{}", fd));
  file.link = TRY(read_link(name));
  if (::stat(name.c_str(), &file.stat)) return fail_errno(name);
  file.info =
      TRY(in(fmt::format("fd {}", fd), parse_fdinfo(TRY(read_file(process.proc(fmt::format("fdinfo/{}", fd)))))));

  // The kernel's order lets us find it by halving: 10,000 eventfds have one inode.
  auto& known = by_inode_[{file.stat.st_dev, file.stat.st_ino, file.flags()}];
  size_t low = 0, high = known.size();
  while (low < high) {
    size_t middle = (low + high) / 2;
    int order = TRY(compare(files_[known[middle]], file.pid, fd));
    if (order == 0) return known[middle];
    if (order == 1)
      low = middle + 1;
    else
      high = middle;
  }
  file.id = static_cast<uint32_t>(files_.size());
  known.insert(known.begin() + static_cast<ptrdiff_t>(low), file.id);
  files_.push_back(std::move(file));
  return files_.back().id;
}

Result<> dump_open_files(Dumping& dumping, const OpenFileTable& table) {
  std::map<const Kind*, std::vector<OpenFile>> owned;
  for (const OpenFile& file : table.files()) {
    const Kind* owner = nullptr;
    for (const Kind* kind : all_kinds())
      if (kind->owns(file)) {
        owner = kind;
        break;
      }
    if (!owner) {
      dumping.refuse(file.pid, file.object(), "of a kind that is not supported yet");
      continue;
    }
    TRY(refuse_extras(dumping, file));
    owned[owner].push_back(file);
  }
  for (const Kind* kind : all_kinds())
    if (auto files = owned.find(kind); files != owned.end()) TRY(in(kind->name, kind->dump(dumping, files->second)));
  return {};
}

Result<Fds> make_open_files(Restoring& restoring, std::string_view envelopes, int floor) {
  std::map<std::string, std::vector<Envelope>> by_kind;
  for (auto& envelope : TRY(open_envelopes(envelopes))) by_kind[envelope.kind].push_back(std::move(envelope));
  Fds made;
  for (const Kind* kind : all_kinds()) {
    auto found = by_kind.extract(std::string(kind->name));
    if (!found) continue;
    for (const Envelope& envelope : found.mapped())
      if (envelope.version > kind->version)
        return fail(envelope.kind + ": of a newer version than this kernel-swap knows");
    Fds of_kind = TRY(in(kind->name, kind->make(restoring, found.mapped())));
    for (auto& [id, fd] : of_kind) {
      int high = ::fcntl(fd.get(), F_DUPFD_CLOEXEC, floor);
      if (high < 0) return fail_errno("descriptor above " + std::to_string(floor));
      made[id] = Fd(high);
    }
  }
  if (!by_kind.empty()) return fail("the image holds files of an unknown kind: " + by_kind.begin()->first);
  return made;
}

}  // namespace ks::engine
