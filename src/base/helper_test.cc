// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/helper.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <thread>
#include <vector>

namespace ks {
namespace {

TEST(WorkFromBothEnds, DoesEachOnce) {
  for (size_t count : {0u, 1u, 255u, 256u, 5000u}) {
    std::vector<std::atomic<int>> done(count);
    work_from_both_ends(count, [&](size_t at) { ++done[at]; });
    for (size_t at = 0; at < count; ++at) EXPECT_EQ(done[at], 1) << at << " of " << count;
  }
}

TEST(WorkFromBothEnds, IsHelpedWhereThereIsMuch) {
  std::atomic<size_t> by_others = 0;
  auto caller = std::this_thread::get_id();
  work_from_both_ends(256, [&](size_t at) {
    if (std::this_thread::get_id() != caller)
      ++by_others;
    else if (at == 0)
      while (by_others == 0) std::this_thread::yield();
  });
  EXPECT_GT(by_others, 0u);
}

TEST(WorkFromBothEnds, LeavesTheCallerWhereItIs) {
  cpu_set_t before, after;
  ASSERT_EQ(::sched_getaffinity(0, sizeof before, &before), 0);
  work_from_both_ends(1000, [](size_t) {});
  ASSERT_EQ(::sched_getaffinity(0, sizeof after, &after), 0);
  EXPECT_TRUE(CPU_EQUAL(&before, &after));
}

}  // namespace
}  // namespace ks
