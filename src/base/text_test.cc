// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/text.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace ks {
namespace {

using Parts = std::vector<std::string_view>;

TEST(Text, NumberIsTheWholeText) {
  EXPECT_EQ(parse_number<int>("42"), 42);
  EXPECT_EQ(parse_number<uint64_t>("ffffffffffffffff", 16), ~uint64_t{0});
  EXPECT_FALSE(parse_number<int>(""));
  EXPECT_FALSE(parse_number<int>("4x"));
  EXPECT_FALSE(parse_number<int>(" 4"));
  EXPECT_FALSE(parse_number<uint8_t>("256"));
}

TEST(Text, TakesFromTheFront) {
  std::string_view text = "a::b";
  EXPECT_EQ(take_until(text, ':'), "a");
  EXPECT_EQ(take_until(text, ':'), "");
  EXPECT_EQ(take_until(text, ':'), "b");
  EXPECT_EQ(take_until(text, ':'), "");
  EXPECT_EQ(text, "");
}

TEST(Text, ReadNumberLeavesTheVariableAlone) {
  int number = 7;
  EXPECT_FALSE(read_number("x", number));
  EXPECT_EQ(number, 7);
  EXPECT_TRUE(read_number("-12", number));
  EXPECT_EQ(number, -12);
}

TEST(Text, Splits) {
  EXPECT_EQ(split_words("  a \t b\n"), (Parts{"a", "b"}));
  EXPECT_EQ(split_words(""), Parts{});
  EXPECT_EQ(split("a::b:", ':'), (Parts{"a", "", "b"}));
  EXPECT_EQ(trim(" \n"), "");
}

}  // namespace
}  // namespace ks
