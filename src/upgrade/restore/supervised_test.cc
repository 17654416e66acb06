// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/restore/supervised.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

namespace ks::upgrade {
namespace {

using Commit = std::function<Result<>()>;

TEST(Supervised, CommitsHereAndGoesOnThere) {
  int commits = 0;
  Supervised job{.work = [](const Commit& commit) -> Result<std::string> {
                   TRY(commit());
                   return "a remark";
                 },
                 .commit = [&]() -> Result<> { return ++commits, Result<>{}; },
                 .limit_seconds = 10};
  EXPECT_EQ(run_supervised(job).value(), "a remark");
  EXPECT_EQ(commits, 1);
}

TEST(Supervised, ErrorsComeBack) {
  Supervised job{.work = [](const Commit&) -> Result<std::string> { return fail("fd 7: gone"); },
                 .commit = []() -> Result<> { return {}; },
                 .limit_seconds = 10};
  EXPECT_EQ(run_supervised(job).error().what, "fd 7: gone");
}

TEST(Supervised, NothingRunsThatCouldNotBeCommitted) {
  Supervised job{.work = [](const Commit& commit) -> Result<std::string> {
                   TRY(commit());
                   ::_exit(0);
                 },
                 .commit = []() -> Result<> { return fail("disk full"); },
                 .limit_seconds = 10};
  EXPECT_EQ(run_supervised(job).error().what, "disk full");
}

TEST(Supervised, ACrashIsAnError) {
  Supervised job{.work = [](const Commit&) -> Result<std::string> { return ::raise(SIGKILL), ""; },
                 .commit = []() -> Result<> { return {}; },
                 .limit_seconds = 10};
  EXPECT_EQ(run_supervised(job).error().what, "the engine died");
}

TEST(Supervised, AHangIsAnError) {
  Supervised job{.work = [](const Commit&) -> Result<std::string> { return ::pause(), ""; },
                 .commit = []() -> Result<> { return {}; },
                 .limit_seconds = 1};
  EXPECT_EQ(run_supervised(job).error().what, "took longer than 1 s");
}

}  // namespace
}  // namespace ks::upgrade
