// SPDX-License-Identifier: LGPL-2.1-or-later
// How a process in a user namespace becomes another user and group: it can name only those that are mapped there, and
// may keep what it has. Numbers are ours unless it says so. Pure.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ks::engine {

struct Ids {
  std::array<uid_t, 4> uids{};  // real, effective, saved, of the file system
  std::array<gid_t, 4> gids{};
  std::vector<gid_t> groups;
  bool operator==(const Ids&) const = default;
};

// /proc/PID/uid_map or gid_map, as we see it.
class IdMap {
 public:
  static Result<IdMap> parse(std::string_view text);
  std::optional<uint32_t> inside(uint32_t ours) const;

 private:
  struct Range {
    uint32_t inside, ours, count;
  };
  std::vector<Range> ranges_;
};

// The arguments of calls, in numbers of the namespace.
struct IdChange {
  std::optional<std::vector<gid_t>> groups;                         // setgroups(2)
  std::array<int64_t, 3> gids = {-1, -1, -1}, uids = {-1, -1, -1};  // setresgid(2), setresuid(2); -1: it stays
  std::optional<gid_t> file_gid;                                    // setfsgid(2), after those
  std::optional<uid_t> file_uid;
};

// A refusal where a number that it needs is not mapped.
Result<IdChange> change_inside(const Ids& have, const Ids& to, const IdMap& users, const IdMap& groups,
                               bool may_set_groups);

}  // namespace ks::engine
