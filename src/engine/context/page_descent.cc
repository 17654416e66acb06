// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/page_descent.h"

#include <algorithm>

namespace ks::engine {

PageDescent::PageDescent(std::vector<size_t> cloners)
    : cloners_(std::move(cloners)),
      held_(cloners_.size()),
      takes_part_(cloners_.size()),
      below_(cloners_.size()),
      forwards_(cloners_.size()) {}

// Pages that more than one has, those of most holders first.
void PageDescent::find_groups(std::span<const uint64_t> frames) {
  groups_.clear();
  sorted_.clear();
  for (uint64_t frame : frames)
    if (frame) sorted_.push_back(frame);
  if (sorted_.size() < 2) return;
  if (std::ranges::adjacent_find(sorted_, std::not_equal_to()) != sorted_.end()) std::ranges::sort(sorted_);
  for (size_t at = 0, end = 0; at < sorted_.size(); at = end) {
    while (end < sorted_.size() && sorted_[end] == sorted_[at]) ++end;
    if (end - at < 2) continue;
    auto first = static_cast<size_t>(std::ranges::find(frames, sorted_[at]) - frames.begin());
    groups_.push_back({sorted_[at], end - at, first});
  }
  std::ranges::sort(groups_, [](const Group& a, const Group& b) {
    return a.holders != b.holders ? a.holders > b.holders : a.first < b.first;
  });
}

// From the last one that all holders descend from, to all of them. Where another page has to be handed down at the
// same place, this one is left to each of its holders.
void PageDescent::hand_down(std::span<const uint64_t> frames, const Group& group) {
  std::ranges::fill(below_, 0);
  std::fill(forwards_.begin(), forwards_.end(), false);
  size_t top = 0;
  for (size_t node = size(); node-- > 0;) {
    if (frames[node] == group.frame) ++below_[node];
    if (below_[node] == group.holders) {
      top = node;
      break;
    }
    if (below_[node] == 0) continue;
    below_[cloners_[node]] += below_[node];
    forwards_[cloners_[node]] = true;
  }
  for (size_t node = top; node < size(); ++node)
    if (forwards_[node] && held_[node]) return;
  for (size_t node = top; node < size(); ++node) {
    if (forwards_[node]) held_[node] = group.frame;
    if (below_[node]) takes_part_[node] = true;
  }
}

void PageDescent::decide(std::span<const uint64_t> frames) {
  std::ranges::fill(held_, 0);
  find_groups(frames);
  for (const Group& group : groups_) hand_down(frames, group);
  if (groups_.empty()) return;
  for (size_t node = 1; node < size(); ++node)
    if (!held_[node]) held_[node] = held_[cloners_[node]];
}

}  // namespace ks::engine
