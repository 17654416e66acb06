// SPDX-License-Identifier: LGPL-2.1-or-later
// How processes come to share pages again that they have shared since a fork(2): one of them gets a page before
// the others are cloned, and they inherit it. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace ks::engine {

// Decides for one page after another of an area that a tree of processes has in common.
class PageDescent {
 public:
  // By whom each node is cloned: one of a smaller number. The first is by nobody.
  explicit PageDescent(std::vector<size_t> cloners);

  // `frames` is what each node has: equal numbers are one page, 0 is none that anybody shares.
  void decide(std::span<const uint64_t> frames);

  // After decide(): what a node has while its children are cloned, be it its own or not; 0: nothing.
  uint64_t held(size_t node) const { return held_[node]; }
  // It has not inherited that, but has to be given it.
  bool is_given(size_t node) const { return held_[node] != 0 && held_[node] != inherited(node); }
  // Nodes through which any page so far has come to more than one process.
  bool takes_part(size_t node) const { return takes_part_[node]; }

  size_t size() const { return cloners_.size(); }
  size_t cloner(size_t node) const { return cloners_[node]; }

 private:
  struct Group {
    uint64_t frame;
    size_t holders, first;
  };
  uint64_t inherited(size_t node) const { return node == 0 ? 0 : held_[cloners_[node]]; }
  void find_groups(std::span<const uint64_t> frames);
  void hand_down(std::span<const uint64_t> frames, const Group& group);

  std::vector<size_t> cloners_;
  std::vector<uint64_t> held_;
  std::vector<bool> takes_part_;
  // Of the page at hand.
  std::vector<Group> groups_;
  std::vector<uint64_t> sorted_;
  std::vector<size_t> below_;   // holders of a group, at or below each node
  std::vector<bool> forwards_;  // has to have the group's page when its children are cloned
};

}  // namespace ks::engine
