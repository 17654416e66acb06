// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/outside.h"

#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
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
    for (const auto& fd : *fds)
      if (auto link = read_link(proc_path(pid, "fd/" + fd)); link && link->ends_with(']'))
        holders_->emplace(*std::move(link), pid);
  }
  return {};
}

Result<> OutsideHolders::scan_memory() {
  sharers_.emplace();
  for (pid_t pid : TRY(others())) {
    auto text = read_file(proc_path(pid, "maps"));
    if (!text) continue;
    auto areas = parse_maps(*text);
    if (!areas) continue;
    for (const Vma& area : *areas)
      if (area.shared && area.inode)
        sharers_->emplace(Identity(area.device_major, area.device_minor, area.inode), pid);
  }
  return {};
}

Result<std::optional<pid_t>> OutsideHolders::sharer(const Vma& area) {
  if (!sharers_) TRY(scan_memory());
  auto found = sharers_->find(Identity(area.device_major, area.device_minor, area.inode));
  if (found == sharers_->end()) return std::nullopt;
  return found->second;
}

Result<std::optional<pid_t>> OutsideHolders::holder(const std::string& link) {
  if (!holders_) TRY(scan());
  auto found = holders_->find(link);
  if (found == holders_->end()) return std::nullopt;
  return found->second;
}

}  // namespace ks::engine
