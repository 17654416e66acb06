// SPDX-License-Identifier: LGPL-2.1-or-later
// Who else on this machine holds what the target holds.
#pragma once

#include <sys/types.h>

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "base/result.h"

namespace ks::engine {

// The anonymous objects ("pipe:[41]", "socket:[7]") that processes outside of a target have open. Read once, when
// first asked.
class OutsideHolders {
 public:
  explicit OutsideHolders(std::set<pid_t> inside) : inside_(std::move(inside)) {}

  Result<std::optional<pid_t>> holder(const std::string& link);

 private:
  Result<> scan();
  std::set<pid_t> inside_;
  std::optional<std::map<std::string, pid_t>> holders_;
};

}  // namespace ks::engine
