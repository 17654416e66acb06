// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/outside.h"

#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "engine/target/process.h"

namespace ks::engine {

Result<> OutsideHolders::scan() {
  holders_.emplace();
  for (const auto& name : TRY(list_directory("/proc"))) {
    auto pid = parse_number<pid_t>(name);
    if (!pid || inside_.contains(*pid) || *pid == ::getpid()) continue;
    auto fds = list_directory(proc_path(*pid, "fd"));
    if (!fds) continue;  // ended meanwhile
    for (const auto& fd : *fds)
      if (auto link = read_link(proc_path(*pid, "fd/" + fd)); link && link->ends_with(']'))
        holders_->emplace(*std::move(link), *pid);
  }
  return {};
}

Result<std::optional<pid_t>> OutsideHolders::holder(const std::string& link) {
  if (!holders_) TRY(scan());
  auto found = holders_->find(link);
  if (found == holders_->end()) return std::nullopt;
  return found->second;
}

}  // namespace ks::engine
