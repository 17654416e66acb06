// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/descriptor_range.h"

#include <gtest/gtest.h>

namespace ks::engine {
namespace {

DescriptorRange chosen(const std::set<uint32_t>& used, uint32_t count, uint32_t limit) {
  auto range = choose_descriptors(used, count, limit);
  return range ? *range : DescriptorRange{};
}

TEST(DescriptorRange, LiesAboveAllWhereThereIsRoom) {
  EXPECT_EQ(chosen({}, 10, 100).first, 0u);
  EXPECT_EQ(chosen({0, 1, 2, 40}, 10, 100).first, 41u);
  EXPECT_EQ(chosen({0, 89}, 10, 100).first, 90u);
}

TEST(DescriptorRange, LiesInTheHighestGapElse) {
  auto range = chosen({0, 50, 95}, 10, 100);
  EXPECT_EQ(range.first, 85u);
  EXPECT_EQ(range.end, 95u);
  EXPECT_EQ(chosen({0, 50, 60, 99}, 30, 100).first, 69u);
  EXPECT_EQ(chosen({0, 50, 60, 99}, 45, 100).first, 5u);
  EXPECT_EQ(chosen({99}, 99, 100).first, 0u);
}

TEST(DescriptorRange, MayNotBeThere) {
  EXPECT_FALSE(choose_descriptors({0, 50, 99}, 50, 100));
  EXPECT_FALSE(choose_descriptors({200}, 1, 100));
}

}  // namespace
}  // namespace ks::engine
