// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kinds/io_uring/ring.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace ks::engine::io_uring {
namespace {

TEST(RingAdvance, IsPlanned) {
  EXPECT_EQ(plan_advance(0, 0), (Advance{}));
  EXPECT_EQ(plan_advance(7, 7), (Advance{.all = 7}));
  EXPECT_EQ(plan_advance(7, 4), (Advance{.all = 7, .silent = 3}));
  EXPECT_EQ(plan_advance(4, 7), std::nullopt);
  EXPECT_EQ(plan_advance(5, ~0u), std::nullopt);  // the one has begun anew, the other not yet
  EXPECT_EQ(plan_advance(~0u, 5)->silent, ~0u - 5);
}

TEST(RingAdvance, BringsANewOneThere) {
  for (uint32_t setup : {uint32_t{0}, uint32_t{IORING_SETUP_SQE128 | IORING_SETUP_CQE32}, kNoArray,
                         uint32_t{IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN}})
    for (auto [taken, given] : {std::pair(0u, 0u), {1u, 1u}, {3u, 0u}, {1000u, 1000u}, {1001u, 998u}}) {
      Params params{};
      params.sq_entries = 4;
      params.flags = setup;
      auto ring = set_up(params);
      if (!ring && (ring.error().code == EINVAL || ring.error().code == ENOSYS)) continue;  // not in this kernel
      ASSERT_TRUE(ring) << ring.error().what;
      auto memory = RingMemory::map(ring->get(), params);
      ASSERT_TRUE(memory) << memory.error().what;
      auto done = advance(*memory, params, *plan_advance(taken, given), enter_by_ourselves(ring->get()));
      ASSERT_TRUE(done) << done.error().what;
      EXPECT_EQ(memory->read(params.sq_off.head), taken);
      EXPECT_EQ(memory->read(params.sq_off.tail), taken);
      EXPECT_EQ(memory->read(params.cq_off.head), given);
      EXPECT_EQ(memory->read(params.cq_off.tail), given);
      EXPECT_EQ(memory->read(params.cq_off.overflow), 0u);
    }
}

}  // namespace
}  // namespace ks::engine::io_uring
