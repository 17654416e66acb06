// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/control_groups.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"

namespace ks::engine {

namespace {

bool has_all(std::string_view options, std::string_view controllers) {
  auto have = split(options, ',');
  return std::ranges::all_of(split(controllers, ','), [&](std::string_view controller) {
    return std::ranges::find(have, controller) != have.end();
  });
}

}  // namespace

Result<std::vector<GroupMembership>> parse_memberships(std::string_view text) {
  std::vector<GroupMembership> memberships;
  for (std::string_view line : split(text, '\n')) {
    if (line.empty()) continue;
    size_t first = line.find(':'), second = first == line.npos ? first : line.find(':', first + 1);
    if (second == line.npos || line.substr(second + 1, 1) != "/")
      return fail(fmt::format("not a control group: \"{:.80}\"", line));
    memberships.push_back({.hierarchy = std::string(line.substr(first + 1, second - first - 1)),
                           .path = std::string(line.substr(second + 1))});
  }
  return memberships;
}

std::string find_hierarchy(std::string_view mountinfo, std::string_view hierarchy) {
  for (std::string_view line : split(mountinfo, '\n')) {
    auto words = split_words(line);
    auto dash = std::ranges::find(words, "-");
    if (words.size() < 6 || words.end() - dash < 4 || words[3] != "/") continue;
    if (hierarchy.empty() ? dash[1] == "cgroup2" : dash[1] == "cgroup" && has_all(dash[3], hierarchy))
      return std::string(words[4]);
  }
  return "";
}

std::optional<std::string> path_below(std::string_view base, std::string_view path) {
  if (path == base) return "";
  if (!base.ends_with('/') && path.starts_with(base) && path.substr(base.size(), 1) == "/")
    return std::string(path.substr(base.size() + 1));
  if (base == "/" && path.starts_with('/')) return std::string(path.substr(1));
  return std::nullopt;
}

}  // namespace ks::engine
