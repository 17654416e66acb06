// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/inside_ids.h"

#include <fmt/format.h>

#include "base/text.h"

namespace ks::engine {

Result<IdMap> IdMap::parse(std::string_view text) {
  IdMap map;
  for (auto line : split(text, '\n')) {
    auto words = split_words(line);
    if (words.empty()) continue;
    std::array<uint32_t, 3> numbers{};
    for (size_t i = 0; i < numbers.size(); ++i) {
      auto number = words.size() == numbers.size() ? parse_number<uint32_t>(words[i]) : std::nullopt;
      if (!number) return fail("a map of users or groups is not three numbers a line");
      numbers[i] = *number;
    }
    map.ranges_.push_back({numbers[0], numbers[1], numbers[2]});
  }
  return map;
}

std::optional<uint32_t> IdMap::inside(uint32_t ours) const {
  for (const Range& range : ranges_)
    if (ours >= range.ours && ours - range.ours < range.count) return range.inside + (ours - range.ours);
  return std::nullopt;
}

namespace {

Result<uint32_t> name_inside(const IdMap& map, uint32_t ours, const char* what) {
  if (auto number = map.inside(ours)) return *number;
  return refuse(fmt::format("{} {} does not exist in its user namespace", what, ours));
}

// The file system's follows the effective one.
Result<> change(const std::array<uint32_t, 4>& have, const std::array<uint32_t, 4>& to, const IdMap& map,
                const char* what, std::array<int64_t, 3>& numbers, std::optional<uint32_t>& of_files) {
  for (size_t i = 0; i < numbers.size(); ++i)
    if (have[i] != to[i]) numbers[i] = TRY(name_inside(map, to[i], what));
  if (to[3] != to[1] && have != to) of_files = TRY(name_inside(map, to[3], what));
  return {};
}

}  // namespace

Result<IdChange> change_inside(const Ids& have, const Ids& to, const IdMap& users, const IdMap& groups,
                               bool may_set_groups) {
  IdChange out;
  if (have.groups != to.groups) {
    if (!may_set_groups) return refuse("has other groups than it can be given in its user namespace");
    out.groups.emplace();
    for (gid_t group : to.groups) out.groups->push_back(TRY(name_inside(groups, group, "group")));
  }
  TRY(change(have.gids, to.gids, groups, "group", out.gids, out.file_gid));
  TRY(change(have.uids, to.uids, users, "user", out.uids, out.file_uid));
  return out;
}

}  // namespace ks::engine
