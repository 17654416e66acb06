// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kinds/table.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <set>

#include "base/file.h"

namespace ks::engine {

namespace {

// 0: the same open file; 1 and 2: an order that the kernel makes up, good for sorting.
Result<int> compare(const OpenFile& file, pid_t pid, int fd) {
  long order = ::syscall(SYS_kcmp, file.pid, pid, KCMP_FILE, file.fd, fd);
  if (order < 0) return fail_errno("kcmp");
  return static_cast<int>(order);
}

std::string eventfd_number(const FdInfo& info) { return std::string(info.value("eventfd-id").value_or("")); }

}  // namespace

Result<uint32_t> OpenFileTable::add(StoppedProcess& process, int fd, FdInfo& info) {
  TRY(turn_to(process.pid));
  OpenFile file = TRY(in(fmt::format("fd {}", fd), look_at(fd)));
  info = file.info;

  auto& known = by_inode_[{file.stat.st_dev, file.stat.st_ino, eventfd_number(info), file.flags()}];
  Place place = TRY(locate(known, file.pid, fd));
  if (place.found) return known[place.at];
  file.id = static_cast<uint32_t>(files_.size());
  known.insert(known.begin() + static_cast<ptrdiff_t>(place.at), file.id);
  files_.push_back(std::move(file));
  return files_.back().id;
}

Result<> OpenFileTable::turn_to(pid_t pid) {
  if (current_.pid == pid) return {};
  Fd& process = processes_[pid];
  if (!process) process = Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!process) return fail_errno("pidfd_open");
  current_ = {.pid = pid,
              .pidfd = process.get(),
              .links = TRY(open_file(proc_path(pid, "fd"), O_PATH | O_DIRECTORY)),
              .infos = TRY(open_file(proc_path(pid, "fdinfo"), O_PATH | O_DIRECTORY))};
  return {};
}

Result<OpenFile> OpenFileTable::look_at(int fd) {
  OpenFile file{.pid = current_.pid, .process = current_.pidfd, .fd = fd};
  std::string number = std::to_string(fd);
  file.link = TRY(read_link_at(current_.links.get(), number));
  if (::fstatat(current_.links.get(), number.c_str(), &file.stat, 0)) return fail_errno("stat");
  file.info = TRY(parse_fdinfo(TRY(read_record_at(current_.infos.get(), number))));
  auto [system, is_new] = file_systems_.try_emplace(file.stat.st_dev);
  if (is_new) {
    struct statfs told{};
    if (::statfs(file.magic_link().c_str(), &told)) return fail_errno("statfs");
    system->second = static_cast<uint64_t>(told.f_type);
  }
  file.file_system = system->second;
  return file;
}

Result<OpenFileTable::Place> OpenFileTable::locate(std::span<const uint32_t> known, pid_t pid, int fd) const {
  size_t low = 0, high = known.size();
  while (low < high) {
    size_t middle = (low + high) / 2;
    int order = TRY(compare(files_[known[middle]], pid, fd));
    if (order == 0) return Place{.at = middle, .found = true};
    if (order == 1)
      low = middle + 1;
    else
      high = middle;
  }
  return Place{.at = low};
}

Result<const OpenFile*> OpenFileTable::find(pid_t pid, int fd) const {
  struct stat stat{};
  if (::stat(proc_path(pid, fmt::format("fd/{}", fd)).c_str(), &stat)) return nullptr;  // closed meanwhile
  auto text = read_file(proc_path(pid, fmt::format("fdinfo/{}", fd)));
  auto info = text ? parse_fdinfo(*text) : std::unexpected(text.error());
  if (!info) return nullptr;
  std::string number = eventfd_number(*info);
  for (auto at = by_inode_.lower_bound({stat.st_dev, stat.st_ino, number, std::numeric_limits<int>::min()});
       at != by_inode_.end(); ++at) {
    const auto& [key, known] = *at;
    if (std::tie(std::get<0>(key), std::get<1>(key), std::get<2>(key)) != std::tie(stat.st_dev, stat.st_ino, number))
      break;
    auto place = locate(known, pid, fd);
    if (!place && (place.error().code == ESRCH || place.error().code == EBADF)) return nullptr;
    if (!place) return std::unexpected(place.error());
    if (place->found) return &files_[known[place->at]];
  }
  return nullptr;
}

namespace {

// An eventfd, timerfd, epoll or the like that a process outside has as well would be two after a restore.
Result<> refuse_shared(Dumping& dumping, const OpenFileTable& table) {
  std::set<std::string> links;
  for (const OpenFile& file : table.files())
    if (file.link.starts_with("anon_inode:")) links.insert(file.link);
  for (const auto& link : links)
    for (auto [pid, fd] : TRY(dumping.outside.descriptors(link)))
      if (const OpenFile* file = TRY(table.find(pid, fd)))
        dumping.refuse(file->pid, file->object(), fmt::format("shared with pid {}, which is not part of it", pid));
  return {};
}

}  // namespace

Result<> dump_open_files(Dumping& dumping, const OpenFileTable& table) {
  TRY(refuse_shared(dumping, table));
  dumping.open_files = table.files();
  std::map<const Kind*, std::vector<OpenFile>> owned;
  std::vector<OpenFile> all;
  for (const OpenFile& file : table.files()) {
    auto owner = std::ranges::find_if(all_kinds(), [&](const Kind* kind) { return kind->owns && kind->owns(file); });
    if (owner == all_kinds().end()) {
      dumping.refuse(file.pid, file.object(), "of a kind that is not supported yet");
      continue;
    }
    owned[*owner].push_back(file);
    all.push_back(file);
  }
  std::vector<const Kind*> order(all_kinds().begin(), all_kinds().end());
  std::ranges::stable_partition(order, [](const Kind* kind) { return !kind->disturbs; });
  for (const Kind* kind : order)
    if (!kind->owns)
      TRY(in(kind->name, kind->dump(dumping, all)));
    else if (auto files = owned.find(kind); files != owned.end())
      TRY(in(kind->name, kind->dump(dumping, files->second)));
  return {};
}

Result<ImageFiles> ImageFiles::open(std::string_view envelopes) {
  ImageFiles files;
  for (auto& envelope : TRY(open_envelopes(envelopes))) {
    auto kind = std::ranges::find(all_kinds(), envelope.kind, [](const Kind* known) { return known->name; });
    if (kind == all_kinds().end()) return fail("the image holds files of an unknown kind: " + envelope.kind);
    if (envelope.version > (*kind)->version)
      return fail(envelope.kind + ": of a newer version than this kernel-swap knows");
    files.by_kind_[*kind].push_back(std::move(envelope));
  }
  return files;
}

size_t ImageFiles::count() const {
  size_t count = 0;
  for (const auto& [kind, envelopes] : by_kind_) count += envelopes.size();
  return count;
}

Result<> ImageFiles::make(Restoring& restoring, bool of_processes) const {
  const DescriptorRange& range = restoring.own_descriptors;
  for (const Kind* kind : all_kinds()) {
    auto found = by_kind_.find(kind);
    if (found == by_kind_.end() || !kind->make || kind->of_processes != of_processes) continue;
    for (auto& [id, fd] : TRY(in(kind->name, kind->make(restoring, found->second)))) {
      // With thousands of files a kind has filled up what is below, and some are there already.
      bool is_there = range.contains(static_cast<uint32_t>(fd.get()));
      Fd high = is_there ? std::move(fd) : Fd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, range.first));
      if (!high) return fail_errno(fmt::format("descriptor above {}", range.first));
      if (!range.contains(static_cast<uint32_t>(high.get()))) return fail("too many descriptors of our own");
      restoring.open_files[id] = std::move(high);
      if (of_processes) restoring.late_files.insert(id);
    }
  }
  return {};
}

Result<> ImageFiles::each(Restoring& restoring, Step step) const {
  for (const Kind* kind : all_kinds())
    if (auto found = by_kind_.find(kind); found != by_kind_.end() && kind->*step)
      TRY(in(kind->name, (kind->*step)(restoring, found->second)));
  return {};
}

Result<> ImageFiles::connect(Restoring& restoring) const { return each(restoring, &Kind::connect); }
Result<> ImageFiles::release(Restoring& restoring) const { return each(restoring, &Kind::release); }

}  // namespace ks::engine
