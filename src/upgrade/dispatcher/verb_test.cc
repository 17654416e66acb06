// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/dispatcher/verb.h"

#include <gtest/gtest.h>

namespace ks::upgrade {
namespace {

using Words = std::vector<std::string>;

TEST(Dispatch, LeavesSystemctlItsVerbs) {
  EXPECT_FALSE(dispatch({}).ours);
  EXPECT_FALSE(dispatch({"status", "kernel-swap"}).ours);
  EXPECT_FALSE(dispatch({"restart", "kernel-swap.service"}).ours);
  EXPECT_FALSE(dispatch({"-p", "kernel-swap", "show"}).ours);
  EXPECT_FALSE(dispatch({"--type", "kernel-swap"}).ours);
  EXPECT_FALSE(dispatch({"--", "kernel-swap"}).ours);
}

TEST(Dispatch, OurVerbIsNowUnlessItNamesAnother) {
  EXPECT_EQ(dispatch({"kernel-swap"}).arguments, Words{"now"});
  EXPECT_EQ(dispatch({"kernel-swap", "--dry-run"}).arguments, (Words{"now", "--dry-run"}));
  EXPECT_EQ(dispatch({"kernel-swap", "check", "a"}).arguments, (Words{"check", "a"}));
  EXPECT_EQ(dispatch({"--no-pager", "-q", "kernel-swap", "status"}).arguments, Words{"status"});
}

TEST(Dispatch, ADryRunStaysOneAndOtherOptionsAreRefused) {
  EXPECT_EQ(dispatch({"--dry-run", "kernel-swap"}).arguments, (Words{"now", "--dry-run"}));
  EXPECT_NE(dispatch({"-H", "host", "kernel-swap"}).error, "");
  EXPECT_NE(dispatch({"--user", "kernel-swap"}).error, "");
  EXPECT_EQ(dispatch({"--firmware-setup", "kernel-swap"}).ours, true);
}

}  // namespace
}  // namespace ks::upgrade
