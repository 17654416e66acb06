// SPDX-License-Identifier: LGPL-2.1-or-later
// Who else on this machine holds what the target holds.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "base/result.h"
#include "engine/kernel/proc.h"

namespace ks::engine {

// The anonymous objects ("pipe:[41]", "socket:[7]") that processes outside of a target have open. Read once, when
// first asked.
class OutsideHolders {
 public:
  explicit OutsideHolders(std::set<pid_t> inside) : inside_(std::move(inside)) {}

  Result<std::optional<pid_t>> holder(const std::string& link);
  // Who maps the same shared memory.
  Result<std::optional<pid_t>> sharer(const Vma& area);

 private:
  Result<std::vector<pid_t>> others() const;
  Result<> scan();
  Result<> scan_memory();
  std::set<pid_t> inside_;
  std::optional<std::map<std::string, pid_t>> holders_;
  using Identity = std::tuple<uint32_t, uint32_t, uint64_t>;  // device and inode
  std::optional<std::map<Identity, pid_t>> sharers_;
};

}  // namespace ks::engine
