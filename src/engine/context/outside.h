// SPDX-License-Identifier: LGPL-2.1-or-later
// Who else on this machine holds what the target holds.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace ks::engine {

// The anonymous objects ("pipe:[41]", "socket:[7]") and terminals ("/dev/ptmx") that processes outside of a target
// have open. Read once, when first asked.
class OutsideHolders {
 public:
  explicit OutsideHolders(std::set<pid_t> inside) : inside_(std::move(inside)) {}

  Result<std::optional<pid_t>> holder(const std::string& link);
  struct Descriptor {
    pid_t pid = 0;
    int fd = -1;
  };
  // All that lead to an object of this name; of "anon_inode:[eventfd]" every one has the same.
  Result<std::vector<Descriptor>> descriptors(const std::string& link);
  // Who has the same file open, or maps it so that changes show.
  Result<std::optional<pid_t>> sharer(dev_t device, ino_t inode);
  // All of them, but for ourselves.
  Result<std::vector<pid_t>> others() const;

 private:
  Result<> scan();
  Result<> scan_files();
  std::set<pid_t> inside_;
  std::optional<std::multimap<std::string, Descriptor>> holders_;
  std::optional<std::map<std::pair<dev_t, ino_t>, pid_t>> sharers_;
};

}  // namespace ks::engine
