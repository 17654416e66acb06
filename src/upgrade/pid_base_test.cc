// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/pid_base.h"

#include <gtest/gtest.h>

#include <vector>

namespace ks::upgrade {
namespace {

pid_t base(std::vector<pid_t> dumped) { return pid_base(dumped); }

TEST(PidBase, StartsAboveTheKernelsThreads) { EXPECT_EQ(base({}), kPidFloor); }

TEST(PidBase, LiesAboveEveryDumpedPid) {
  EXPECT_EQ(base({386, 131073}), 2 * kPidWindow);
  EXPECT_EQ(base({131073, 5 * kPidWindow - 1}), 5 * kPidWindow);
}

TEST(PidBase, MovesAndWrapsOverManySwaps) {
  // One service is never restarted, another one is at each boot.
  std::vector<pid_t> dumped = {kPidFloor + 7, kPidFloor + 9};
  for (int boot = 0; boot < 100; ++boot) {
    pid_t next = base(dumped);
    ASSERT_GE(next, kPidFloor);
    ASSERT_LE(next + kPidWindow, kPidMax);
    for (pid_t pid : dumped) ASSERT_TRUE(pid < next || pid >= next + kPidWindow) << pid << " at " << next;
    dumped[1] = next + 1000;
  }
}

TEST(PidBase, TellsWhenNoWindowIsFree) {
  std::vector<pid_t> everywhere;
  for (pid_t pid = kPidFloor; pid < kPidMax; pid += kPidWindow) everywhere.push_back(pid);
  EXPECT_EQ(pid_base(everywhere), 0);
}

TEST(PidBase, IgnoresNonsense) { EXPECT_EQ(base({-1, 0, kPidMax, 2147483647}), kPidFloor); }

}  // namespace
}  // namespace ks::upgrade
