// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/netfilter_owners.h"

#include <gtest/gtest.h>

namespace ks::engine {
namespace {

TEST(NetfilterOwners, AreTheSecondWordOfALine) {
  EXPECT_EQ(
      parse_owners(
          "    7   4711     0 2 65531     0     0       12  1\n    9 4294963137     0 1     0     0     0\n\nx\n"),
      (std::set<uint32_t>{4711, 4294963137}));
  EXPECT_TRUE(parse_owners("").empty());
}

TEST(NetfilterOwners, AreFound) {
  auto owners = netfilter_owners();
  EXPECT_TRUE(owners) << owners.error().what;
}

}  // namespace
}  // namespace ks::engine
