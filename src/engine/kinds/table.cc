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
#include "base/helper.h"
#include "engine/kernel/socket.h"

namespace ks::engine {

namespace {

// 0: the same open file; 1 and 2: an order that the kernel makes up, good for sorting.
Result<int> compare(pid_t known_pid, int known_fd, pid_t pid, int fd) {
  long order = ::syscall(SYS_kcmp, known_pid, pid, KCMP_FILE, known_fd, fd);
  if (order < 0) return fail_errno("kcmp");
  return static_cast<int>(order);
}

std::string eventfd_number(const FdInfo& info) { return std::string(info.value("eventfd-id").value_or("")); }

}  // namespace

Result<std::vector<OpenFileTable::Entry>> OpenFileTable::add(const StoppedProcess& process) {
  constexpr size_t kAtOnce = 1024;
  TRY(turn_to(process.pid));
  std::vector<Entry> entries;
  entries.reserve(process.descriptors.size());
  std::vector<Result<OpenFile>> found(std::min(process.descriptors.size(), kAtOnce), OpenFile{});
  for (std::span<const DescriptorLink> rest = process.descriptors; !rest.empty();) {
    auto some = rest.first(std::min(rest.size(), kAtOnce));
    rest = rest.subspan(some.size());
    work_from_both_ends(some.size(), [&](size_t at) { found[at] = look_at(some[at]); });
    for (size_t i = 0; i < some.size(); ++i) {
      auto entry = found[i] ? add(*std::move(found[i])) : std::unexpected(found[i].error());
      if (!entry) return std::unexpected(in(fmt::format("fd {}", some[i].number), std::move(entry)).error());
      entries.push_back(*std::move(entry));
    }
  }
  return entries;
}

Result<OpenFileTable::Entry> OpenFileTable::add(Fd in_flight, std::string within) {
  TRY(turn_to(::getpid()));
  OpenFile file = TRY(look_at({in_flight.get(), ""}));
  file.within = std::move(within);
  Entry entry = TRY(add(std::move(file)));
  if (files_[entry.file].fd == in_flight.get() && files_[entry.file].pid == ::getpid())
    in_flight_.push_back(std::move(in_flight));
  return entry;
}

Result<OpenFileTable::Entry> OpenFileTable::add(OpenFile file) {
  Entry entry{.number = file.fd, .close_on_exec = (file.info.flags & O_CLOEXEC) != 0};
  for (const auto& line : file.info.rest)
    if (line.starts_with("lock:")) entry.locks.push_back(line);
  if (auto [system, is_new] = file_systems_.try_emplace(file.stat.st_dev); is_new) {
    struct statfs told{};
    if (::statfs(file.magic_link().c_str(), &told)) return fail_errno("statfs");
    system->second = static_cast<uint64_t>(told.f_type);
  }
  file.file_system = file_systems_[file.stat.st_dev];
  file.vanishes = dumping_.vanishes(file.link, file.file_system);
  auto& known = by_inode_[{file.stat.st_dev, file.stat.st_ino, eventfd_number(file.info), file.flags()}];
  Place place = TRY(locate(known, file.pid, file.fd));
  if (place.found) {
    entry.file = known[place.at].id;
    return entry;
  }
  entry.file = file.id = static_cast<uint32_t>(files_.size());
  known.insert(known.begin() + static_cast<ptrdiff_t>(place.at), {file.id, file.pid, file.fd});
  files_.push_back(std::move(file));
  return entry;
}

Result<> OpenFileTable::turn_to(pid_t pid) {
  if (current_.pid == pid) return {};
  Fd& process = processes_[pid];
  if (!process) process = Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!process) return fail_errno("pidfd_open");
  if (!own_links_) own_links_ = TRY(open_file("/proc/self/fd", O_PATH | O_DIRECTORY));
  current_ = {
      .pid = pid, .pidfd = process.get(), .infos = TRY(open_file(proc_path(pid, "fdinfo"), O_PATH | O_DIRECTORY))};
  return {};
}

// By a duplicate of our own, where the kernel has less to look for.
Result<OpenFile> OpenFileTable::look_at(const DescriptorLink& descriptor) const {
  OpenFile file{.pid = current_.pid, .process = current_.pidfd, .fd = descriptor.number, .link = descriptor.link};
  Fd mine = TRY(file.fetch());
  // A path may have changed since.
  if (file.link.empty() || file.link.starts_with('/'))
    file.link = TRY(read_link_at(own_links_.get(), std::to_string(mine.get())));
  if (::fstat(mine.get(), &file.stat)) return fail_errno("stat");
  file.info = TRY(parse_fdinfo(TRY(read_record_at(current_.infos.get(), std::to_string(file.fd)))));
  if (file.info.flags & O_PATH) return file;
  if (S_ISSOCK(file.stat.st_mode)) file.socket = TRY(socket_type(mine.get()));
  file.owner = TRY(read_signal_owner(mine.get()));
  return file;
}

Result<OpenFileTable::Place> OpenFileTable::locate(std::span<const Candidate> known, pid_t pid, int fd) {
  size_t low = 0, high = known.size();
  while (low < high) {
    size_t middle = (low + high) / 2;
    int order = TRY(compare(known[middle].pid, known[middle].fd, pid, fd));
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
    if (place->found) return &files_[known[place->at].id];
  }
  return nullptr;
}

Result<> add_files_in_flight(Dumping& dumping, OpenFileTable& table) {
  auto found = [&](const OpenFile& within, Fd in_flight) -> Result<uint32_t> {
    int number = in_flight.get();
    std::string where =
        within.within.empty() ? fmt::format("{} of pid {}", within.object(), within.pid) : within.object();
    auto entry = TRY(table.add(std::move(in_flight), std::move(where)));
    for (const auto& line : entry.locks) dumping.locks.push_back({::getpid(), number, entry.file, line});
    return entry.file;
  };
  for (size_t seen = 0; seen < table.files().size();) {
    auto fresh = table.files().subspan(seen);
    seen += fresh.size();
    std::map<const Kind*, std::vector<OpenFile>> owned;  // copies, since the table grows
    for (const Kind* kind : all_kinds())
      for (const OpenFile& file : kind->look_inside ? fresh : std::span<const OpenFile>())
        if (kind->owns(file)) owned[kind].push_back(file);
    for (const auto& [kind, files] : owned) TRY(in(kind->name, kind->look_inside(dumping, files, found)));
  }
  return {};
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
  for (const OpenFile& file : table.files()) {
    auto owner = std::ranges::find_if(all_kinds(), [&](const Kind* kind) { return kind->owns && kind->owns(file); });
    if (owner == all_kinds().end()) {
      dumping.refuse(file.pid, file.object(),
                     fmt::format("is {} that is not supported yet",
                                 file.socket ? "a socket of " + kind_text(*file.socket) : std::string("of a kind")));
      continue;
    }
    if (!file.within.empty() && (*owner)->of_holder) {
      dumping.refuse(file.pid, file.object(), for_now("of a kind that cannot be carried in flight"));
      continue;
    }
    owned[*owner].push_back(file);
  }
  std::vector<const Kind*> order(all_kinds().begin(), all_kinds().end());
  std::ranges::stable_partition(order, [](const Kind* kind) { return !kind->disturbs; });
  for (const Kind* kind : order)
    if (!kind->owns)
      TRY(in(kind->name, kind->dump(dumping, table.files())));
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
