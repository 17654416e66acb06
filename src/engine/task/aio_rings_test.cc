// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/task/aio_rings.h"

#include <gtest/gtest.h>
#include <linux/aio_abi.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace ks::engine {
namespace {

TEST(AioRings, AreBroughtToWhereTheyWere) {
  EXPECT_EQ(plan_ring(127, 0, 0), (RingPlan{.taken = 0, .left = 0}));
  EXPECT_EQ(plan_ring(127, 5, 5), (RingPlan{.taken = 5, .left = 0}));
  EXPECT_EQ(plan_ring(127, 3, 10), (RingPlan{.taken = 3, .left = 7}));
  EXPECT_EQ(plan_ring(127, 0, 126), (RingPlan{.taken = 0, .left = 126}));
  EXPECT_EQ(plan_ring(127, 120, 4), (RingPlan{.taken = 120, .left = 11}));
  EXPECT_EQ(plan_ring(127, 1, 0), (RingPlan{.taken = 1, .left = 126}));
  EXPECT_EQ(plan_ring(127, 127, 0), std::nullopt);
  EXPECT_EQ(plan_ring(127, 0, 127), std::nullopt);
}

// Where the kernel's choice is ours: above what it takes for its CPUs.
TEST(AioRings, HaveTheSizeForWhichTheyAreAsked) {
  constexpr uint64_t kPage = 4096;
  for (uint64_t pages : {40, 41, 60}) {
    for (uint32_t more : {0u, 1u}) {
      aio_context_t context = 0;
      // One less gives a page less.
      if (::syscall(SYS_io_setup, requests_for(pages * kPage) - more, &context))
        GTEST_SKIP() << "no asynchronous I/O";
      auto slots = reinterpret_cast<const AioRingHeader*>(context)->slots;
      EXPECT_EQ((slots + 1) * sizeof(io_event), (pages - more) * kPage);
      EXPECT_EQ(::syscall(SYS_io_destroy, context), 0);
    }
  }
  EXPECT_EQ(requests_for(kPage), 1u);
}

}  // namespace
}  // namespace ks::engine
