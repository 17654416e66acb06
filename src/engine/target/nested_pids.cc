// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/nested_pids.h"

#include <algorithm>

namespace ks::engine {

void NestedPids::add(pid_t pid, PidLevels levels) {
  if (!levels.empty()) levels_[pid] = std::move(levels);
}

const PidLevels& NestedPids::levels(pid_t pid) const {
  static const PidLevels none;
  auto found = levels_.find(pid);
  return found == levels_.end() ? none : found->second;
}

pid_t NestedPids::home(pid_t pid) const {
  const PidLevels& its = levels(pid);
  return its.empty() ? 0 : its.back().first;
}

pid_t NestedPids::seen_by(pid_t viewer, pid_t whom) const {
  const PidLevels &from = levels(viewer), &its = levels(whom);
  if (from.empty()) return whom;
  if (its.size() < from.size() || its[from.size() - 1].first != from.back().first) return 0;
  return its[from.size() - 1].number;
}

NestedPids::Way NestedPids::way(pid_t child, pid_t by) const {
  const PidLevels &its = levels(child), &from = levels(by);
  auto same = [](const PidLevel& one, const PidLevel& other) { return one.first == other.first; };
  if (its.size() < from.size() || !std::equal(from.begin(), from.end(), its.begin(), same)) return Way::none;
  if (its.size() == from.size()) return Way::inherited;
  if (!is_first(child)) return Way::joined;
  return its.size() == from.size() + 1 ? Way::founded : Way::none;
}

uint32_t NestedPids::owner(pid_t first) const {
  auto found = owners_.find(first);
  return found == owners_.end() ? 0 : found->second;
}

NewNumbers new_numbers(pid_t pid, const PidLevels& levels, const NestedPids& pids, const UserSpaces& users,
                       uint32_t user) {
  if (!user) return {.pid = pid, .counted = {}, .chosen = pids_to_set(pid, levels)};
  NewNumbers numbers{.pid = pid, .counted = {}, .chosen = {}};
  for (const PidLevel& level : levels) {
    if (users.covers(user, pids.owner(level.first)))
      numbers.chosen.insert(numbers.chosen.begin(), level.number);
    else
      numbers.counted.push_back(level);
  }
  return numbers;
}

std::vector<pid_t> pids_to_set(pid_t pid, const PidLevels& levels) {
  std::vector<pid_t> pids{pid};
  for (const PidLevel& level : levels) pids.insert(pids.begin(), level.number);
  return pids;
}

}  // namespace ks::engine
