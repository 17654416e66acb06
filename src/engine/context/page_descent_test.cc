// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/page_descent.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace ks::engine {
namespace {

using Pages = std::vector<uint64_t>;

Pages held_of(const PageDescent& descent) {
  Pages held;
  for (size_t node = 0; node < descent.size(); ++node) held.push_back(descent.held(node));
  return held;
}
std::vector<bool> given_by(const PageDescent& descent) {
  std::vector<bool> given;
  for (size_t node = 0; node < descent.size(); ++node) given.push_back(descent.is_given(node));
  return given;
}

TEST(PageDescent, ParentToChild) {
  PageDescent descent({0, 0, 1});
  descent.decide(Pages{0, 7, 7});
  EXPECT_EQ(held_of(descent), (Pages{0, 7, 7}));
  EXPECT_EQ(given_by(descent), (std::vector{false, true, false}));
  EXPECT_FALSE(descent.takes_part(0));
  EXPECT_TRUE(descent.takes_part(1) && descent.takes_part(2));
}

TEST(PageDescent, NothingShared) {
  PageDescent descent({0, 0, 1, 1});
  descent.decide(Pages{0, 7, 8, 9});
  EXPECT_EQ(held_of(descent), (Pages{0, 0, 0, 0}));
  descent.decide(Pages{0, 0, 0, 0});
  for (size_t node = 0; node < 4; ++node) EXPECT_FALSE(descent.takes_part(node));
}

TEST(PageDescent, SiblingsOfAParentThatIsGone) {
  PageDescent descent({0, 0, 0, 0});
  descent.decide(Pages{0, 7, 0, 7});
  EXPECT_EQ(held_of(descent), (Pages{7, 7, 7, 7}));
  EXPECT_TRUE(descent.takes_part(0) && descent.takes_part(1) && descent.takes_part(3));
  EXPECT_FALSE(descent.takes_part(2));
}

TEST(PageDescent, ParentHasAnotherByNow) {
  PageDescent descent({0, 0, 1, 1});
  descent.decide(Pages{0, 9, 7, 7});
  EXPECT_EQ(held_of(descent), (Pages{0, 7, 7, 7}));
}

TEST(PageDescent, ThroughOneThatHasNoneItself) {
  PageDescent descent({0, 0, 1, 2});
  descent.decide(Pages{0, 7, 0, 7});
  EXPECT_EQ(held_of(descent), (Pages{0, 7, 7, 7}));
  EXPECT_TRUE(descent.takes_part(2));
}

TEST(PageDescent, EachGroupInItsOwnPartOfTheTree) {
  PageDescent descent({0, 0, 0, 1, 1, 2, 2});
  descent.decide(Pages{0, 0, 0, 7, 7, 8, 8});
  EXPECT_EQ(held_of(descent), (Pages{0, 7, 8, 7, 7, 8, 8}));
  EXPECT_FALSE(descent.takes_part(0));
}

TEST(PageDescent, TheLargerGroupGoesFirst) {
  PageDescent descent({0, 0, 1, 1, 1, 1, 1});
  descent.decide(Pages{0, 5, 7, 7, 8, 8, 8});
  EXPECT_EQ(held_of(descent), (Pages{0, 8, 8, 8, 8, 8, 8}));
}

// Whatever is decided, everybody can end with what he had, and no page is made more often than without us.
TEST(PageDescent, AnyTree) {
  std::mt19937 random(20261124);
  for (int round = 0; round < 2000; ++round) {
    size_t size = 2 + random() % 8;
    std::vector<size_t> cloners(size);
    for (size_t node = 1; node < size; ++node) cloners[node] = random() % node;
    PageDescent descent(cloners);
    Pages frames(size);
    for (size_t node = 1; node < size; ++node) frames[node] = random() % 4;
    descent.decide(frames);
    size_t had = 0, made = 0;
    for (size_t node = 0; node < size; ++node) {
      had += frames[node] != 0;
      made += descent.is_given(node) + (frames[node] && frames[node] != descent.held(node));
      if (!descent.is_given(node)) continue;
      EXPECT_TRUE(descent.takes_part(node));
      EXPECT_GE(std::ranges::count(frames, descent.held(node)), 2);
    }
    EXPECT_LE(made, had) << "round " << round;
    // Who has it from his cloner has it from one who takes part.
    for (size_t node = 1; node < size; ++node) {
      bool inherits = frames[node] && descent.held(node) == frames[node];
      EXPECT_TRUE(!inherits || descent.takes_part(node));
    }
  }
}

}  // namespace
}  // namespace ks::engine
