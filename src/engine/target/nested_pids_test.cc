// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/nested_pids.h"

#include <gtest/gtest.h>

namespace ks::engine {
namespace {

using Way = NestedPids::Way;

// 10 is ours, 20 the first in a namespace below it, with 21, and 30 in one below that; 40 is the first of another.
NestedPids family() {
  NestedPids pids;
  pids.add(10, {});
  pids.add(20, {{20, 1}});
  pids.add(21, {{20, 7}});
  pids.add(30, {{20, 8}, {30, 1}});
  pids.add(31, {{20, 9}, {30, 2}});
  pids.add(40, {{40, 1}});
  return pids;
}

TEST(NestedPids, EachIsKnownByTheNumberOfWhoLooks) {
  NestedPids pids = family();
  EXPECT_EQ(pids.seen_by(10, 31), 31);
  EXPECT_EQ(pids.seen_by(20, 31), 9);
  EXPECT_EQ(pids.seen_by(30, 31), 2);
  EXPECT_EQ(pids.seen_by(31, 21), 0);
  EXPECT_EQ(pids.seen_by(21, 10), 0);
  EXPECT_EQ(pids.seen_by(40, 20), 0);
  EXPECT_EQ(pids.home(10), 0);
  EXPECT_EQ(pids.home(31), 30);
  EXPECT_TRUE(pids.is_first(30));
  EXPECT_FALSE(pids.is_first(31));
}

TEST(NestedPids, ANamespaceIsFoundedFromTheOneAboveOnly) {
  NestedPids pids = family();
  EXPECT_EQ(pids.way(21, 20), Way::inherited);
  EXPECT_EQ(pids.way(20, 10), Way::founded);
  EXPECT_EQ(pids.way(30, 21), Way::founded);
  EXPECT_EQ(pids.way(30, 10), Way::none);
  EXPECT_EQ(pids.way(31, 10), Way::joined);
  EXPECT_EQ(pids.way(31, 40), Way::none);
  EXPECT_EQ(pids.way(10, 20), Way::none);
}

TEST(NestedPids, TheInnermostNumberIsSetFirst) {
  EXPECT_EQ(pids_to_set(31, family().levels(31)), (std::vector<pid_t>{2, 9, 31}));
  EXPECT_EQ(pids_to_set(10, {}), (std::vector<pid_t>{10}));
}

}  // namespace
}  // namespace ks::engine
