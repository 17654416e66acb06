// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/generic_netlink.h"

#include <gtest/gtest.h>

#include <string_view>

namespace ks::engine {
namespace {

using namespace std::string_view_literals;

// As Linux 6.18 tells of "thermal"; operations left out.
constexpr auto kThermal =
    "\1\2\0\0"
    "\x0c\0\2\0thermal\0"
    "\6\0\1\0\x13\0\0\0"
    "\x38\0\7\0"
    "\x1c\0\1\0\x08\0\2\0\2\0\0\0\x0d\0\1\0sampling\0\0\0\0"
    "\x18\0\2\0\x08\0\2\0\3\0\0\0\x0a\0\1\0event\0\0\0"sv;

TEST(GenericNetlink, FamiliesAndGroupsHaveNames) {
  GenericNumbers numbers;
  add_family(std::as_bytes(std::span(kThermal)), numbers);
  EXPECT_EQ(numbers.families, (std::map<std::string, uint32_t>{{"thermal", 19}}));
  EXPECT_EQ(numbers.groups, (std::map<std::string, uint32_t>{{"thermal/event", 3}, {"thermal/sampling", 2}}));
  for (size_t bytes = 0; bytes < kThermal.size(); ++bytes)
    add_family(std::as_bytes(std::span(kThermal).first(bytes)), numbers);
}

TEST(GenericNetlink, TheControllerIsThere) {
  auto numbers = generic_numbers();
  ASSERT_TRUE(numbers) << numbers.error().what;
  EXPECT_EQ(numbers->families.at("nlctrl"), 16u);
  EXPECT_EQ(numbers->groups.at("nlctrl/notify"), 16u);
  load_generic_family("nobody");
}

}  // namespace
}  // namespace ks::engine
