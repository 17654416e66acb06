// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/outside.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "engine/kernel/proc.h"
#include "engine/target/process.h"

namespace ks::engine {

Result<std::vector<pid_t>> OutsideHolders::others() const {
  std::vector<pid_t> pids;
  for (const auto& name : TRY(list_directory("/proc")))
    if (auto pid = parse_number<pid_t>(name); pid && !inside_.contains(*pid) && *pid != ::getpid())
      pids.push_back(*pid);
  return pids;
}

Result<> OutsideHolders::scan() {
  holders_.emplace();
  for (pid_t pid : TRY(others())) {
    auto fds = list_directory(proc_path(pid, "fd"));
    if (!fds) continue;  // ended meanwhile
    for (const auto& fd : *fds) {
      auto number = parse_number<int>(fd);
      auto link = read_link(proc_path(pid, "fd/" + fd));
      if (number && link && (link->ends_with(']') || link->ends_with("/ptmx")))
        holders_->emplace(*std::move(link), Descriptor{pid, *number});
    }
  }
  return {};
}

Result<> OutsideHolders::scan_files() {
  sharers_.emplace();
  for (pid_t pid : TRY(others())) {
    auto note = [&](const std::string& link) {
      struct stat stat{};
      if (::stat(link.c_str(), &stat) == 0) sharers_->emplace(std::pair(stat.st_dev, stat.st_ino), pid);
    };
    auto fds = list_directory(proc_path(pid, "fd"));
    auto text = read_file(proc_path(pid, "maps"));
    if (!fds || !text) continue;  // ended meanwhile
    for (const auto& fd : *fds) note(proc_path(pid, "fd/" + fd));
    auto areas = parse_maps(*text);
    if (!areas) continue;
    for (const Vma& area : *areas)
      if (area.shared && area.has_file())
        note(proc_path(pid, fmt::format("map_files/{:x}-{:x}", area.start, area.end)));
  }
  return {};
}

Result<std::optional<pid_t>> OutsideHolders::sharer(dev_t device, ino_t inode) {
  if (!sharers_) TRY(scan_files());
  auto found = sharers_->find({device, inode});
  if (found == sharers_->end()) return std::nullopt;
  return found->second;
}

Result<std::optional<pid_t>> OutsideHolders::holder(const std::string& link) {
  if (!holders_) TRY(scan());
  auto found = holders_->find(link);
  if (found == holders_->end()) return std::nullopt;
  return found->second.pid;
}

Result<std::vector<OutsideHolders::Descriptor>> OutsideHolders::descriptors(const std::string& link) {
  if (!holders_) TRY(scan());
  std::vector<Descriptor> found;
  for (auto [at, end] = holders_->equal_range(link); at != end; ++at) found.push_back(at->second);
  return found;
}

}  // namespace ks::engine
