// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/inside_ids.h"

#include <gtest/gtest.h>

namespace ks::engine {
namespace {

TEST(InsideIds, AMapHasRanges) {
  auto map = IdMap::parse("         0       1000          1\n         5       2000         10\n");
  ASSERT_TRUE(map);
  EXPECT_EQ(map->inside(1000), 0u);
  EXPECT_EQ(map->inside(2009), 14u);
  EXPECT_EQ(map->inside(2010), std::nullopt);
  EXPECT_EQ(map->inside(0), std::nullopt);
  EXPECT_TRUE(IdMap::parse(""));
  EXPECT_FALSE(IdMap::parse("1 2\n"));
  EXPECT_FALSE(IdMap::parse("1 2 x\n"));
}

TEST(InsideIds, WhatStaysNeedNotBeMapped) {
  auto map = *IdMap::parse("0 1000 2");
  Ids have{.uids = {7, 1000, 7, 1000}, .gids = {7, 7, 7, 7}, .groups = {4, 5}};
  auto none = change_inside(have, have, map, map, false);
  ASSERT_TRUE(none);
  EXPECT_FALSE(none->groups || none->file_uid || none->file_gid);
  Ids to = have;
  to.uids = {7, 1001, 7, 1000};
  auto changed = change_inside(have, to, map, map, false);
  ASSERT_TRUE(changed);
  EXPECT_EQ(changed->uids, (std::array<int64_t, 3>{-1, 1, -1}));
  EXPECT_EQ(changed->file_uid, 0u);
  EXPECT_EQ(changed->gids, (std::array<int64_t, 3>{-1, -1, -1}));
  to.gids[0] = 8;
  EXPECT_FALSE(change_inside(have, to, map, map, false));
}

TEST(InsideIds, GroupsAreSetTogether) {
  auto map = *IdMap::parse("0 1000 10");
  Ids have{.uids = {}, .gids = {}, .groups = {4}}, to = have;
  to.groups = {1001, 1003};
  EXPECT_FALSE(change_inside(have, to, map, map, false));
  EXPECT_EQ(change_inside(have, to, map, map, true)->groups, (std::vector<gid_t>{1, 3}));
  to.groups = {1001, 4};
  EXPECT_FALSE(change_inside(have, to, map, map, true));
}

}  // namespace
}  // namespace ks::engine
