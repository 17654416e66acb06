// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>

#include "upgrade/steps/upgrade.h"

namespace ks::upgrade {
namespace {

// The steps keep their log in Upgrade::notes.
Result<> log(Upgrade& upgrade, const char* what) { return upgrade.notes.emplace_back(what), Result<>{}; }

constexpr Step kGood{"good", [](Upgrade& u) { return log(u, "+1"); }, [](Upgrade& u) { return log(u, "-1"); }};
constexpr Step kPlain{"plain", [](Upgrade& u) { return log(u, "+2"); }};
constexpr Step kBad{"bad", [](Upgrade&) -> Result<> { return refuse("no"); },
                    [](Upgrade& u) { return log(u, "-3"); }};
constexpr Step kSticky{"sticky", [](Upgrade& u) { return log(u, "+4"); },
                       [](Upgrade&) -> Result<> { return fail("stuck"); }};

TEST(RunSteps, InOrder) {
  Upgrade upgrade;
  EXPECT_TRUE(run_steps(std::array{kGood, kPlain}, upgrade));
  EXPECT_EQ(upgrade.notes, (std::vector<std::string>{"+1", "+2"}));
}

TEST(RunSteps, UndoneBackwards) {
  Upgrade upgrade;
  auto done = run_steps(std::array{kGood, kPlain, kBad, kPlain}, upgrade);
  ASSERT_FALSE(done);
  EXPECT_TRUE(done.error().refusal);
  EXPECT_EQ(upgrade.notes, (std::vector<std::string>{"+1", "+2", "-3", "-1"}));
}

TEST(RunSteps, BothFailuresAreReported) {
  Upgrade upgrade;
  EXPECT_EQ(run_steps(std::array{kSticky, kBad}, upgrade).error().what, "no; undoing sticky: stuck");
}

}  // namespace
}  // namespace ks::upgrade
