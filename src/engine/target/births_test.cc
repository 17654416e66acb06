// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/births.h"

#include <gtest/gtest.h>

namespace ks::engine {
namespace {

using Way = NestedPids::Way;

// User namespaces 1, and 2 below it. 10 is in 1 and has founded a PID namespace for 20, which belongs to 1; 20 one
// for 30, which does too, and one for 40, which belongs to 2.
class BirthsTest : public testing::Test {
 protected:
  BirthsTest() {
    users.add(1, 0);
    users.add(2, 1);
    for (pid_t pid : {10, 20, 21, 30, 31}) users.put(pid, 1);
    users.put(40, 2);
    pids.add(20, {{20, 1}});
    pids.add(21, {{20, 2}});
    pids.add(30, {{20, 3}, {30, 1}});
    pids.add(31, {{20, 4}, {30, 2}});
    pids.add(40, {{20, 5}, {40, 1}});
    pids.set_owner(20, 1);
    pids.set_owner(30, 1);
    pids.set_owner(40, 2);
  }
  NestedPids pids;
  UserSpaces users;
  Births births{pids, users};
};

TEST_F(BirthsTest, WhoFoundsFromOutsideNeedsSomebodyInside) {
  auto first = births.next(20, 10);
  ASSERT_TRUE(first);
  EXPECT_TRUE(first->by_envoy);
  EXPECT_EQ(births.inside(20).user, 1u);
  EXPECT_EQ(births.inside(20).founder, 20);
  EXPECT_EQ(births.inside(10).user, 0u);
  ASSERT_TRUE(births.next(21, 20));
  EXPECT_EQ(births.inside(21).founder, 20);
}

TEST_F(BirthsTest, WhoIsInsideFoundsByHimselfAndGoesBack) {
  ASSERT_TRUE(births.next(20, 10));
  auto first = births.next(30, 20);
  ASSERT_TRUE(first);
  EXPECT_FALSE(first->by_envoy);
  EXPECT_EQ(births.next(31, 20)->way, Way::joined);
  EXPECT_FALSE(*births.turn(20, 30));
  EXPECT_TRUE(*births.turn(20, 0));
  auto back = births.next(21, 20);
  ASSERT_TRUE(back);
  EXPECT_TRUE(back->turns_home);
  EXPECT_FALSE(births.turn(20, 30));
  EXPECT_FALSE(births.next(31, 20));
}

TEST_F(BirthsTest, DeeperOnesKeepTheUsersOfTheFirst) {
  ASSERT_TRUE(births.next(20, 10));
  EXPECT_TRUE(births.next(40, 20)->by_envoy);
  EXPECT_EQ(births.inside(40).user, 2u);
  EXPECT_EQ(births.inside(40).founder, 20);
}

TEST_F(BirthsTest, NobodyGetsOut) {
  users.put(21, 0);
  ASSERT_TRUE(births.next(20, 10));
  EXPECT_FALSE(births.next(21, 20));
}

TEST_F(BirthsTest, NumbersAreChosenBelowOnly) {
  auto numbers = new_numbers(40, pids.levels(40), pids, users, 2);
  EXPECT_EQ(numbers.chosen, (std::vector<pid_t>{1}));
  EXPECT_EQ(numbers.counted, (PidLevels{{20, 5}}));
  numbers = new_numbers(40, pids.levels(40), pids, users, 1);
  EXPECT_EQ(numbers.chosen, (std::vector<pid_t>{1, 5}));
  EXPECT_TRUE(numbers.counted.empty());
  EXPECT_EQ(new_numbers(40, pids.levels(40), pids, users, 0).chosen, (std::vector<pid_t>{1, 5, 40}));
}

}  // namespace
}  // namespace ks::engine
