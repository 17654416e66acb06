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
  Supervised job{.work = [](const Commit& commit) { return commit(); },
                 .commit = [&]() -> Result<> { return ++commits, Result<>{}; },
                 .limit_seconds = 10};
  EXPECT_TRUE(run_supervised(job));
  EXPECT_EQ(commits, 1);
}

TEST(Supervised, ErrorsComeBack) {
  Supervised job{.work = [](const Commit&) -> Result<> { return fail("fd 7: gone"); },
                 .commit = []() -> Result<> { return {}; },
                 .limit_seconds = 10};
  EXPECT_EQ(run_supervised(job).error().what, "fd 7: gone");
}

TEST(Supervised, NothingRunsThatCouldNotBeCommitted) {
  Supervised job{.work =
                     [](const Commit& commit) {
                       auto committed = commit();
                       if (committed) ::_exit(0);
                       return committed;
                     },
                 .commit = []() -> Result<> { return fail("disk full"); },
                 .limit_seconds = 10};
  EXPECT_EQ(run_supervised(job).error().what, "disk full");
}

TEST(Supervised, ACrashIsAnError) {
  Supervised job{.work = [](const Commit&) -> Result<> { return ::raise(SIGKILL), Result<>{}; },
                 .commit = []() -> Result<> { return {}; },
                 .limit_seconds = 10};
  EXPECT_EQ(run_supervised(job).error().what, "the engine died");
}

TEST(Supervised, AHangIsAnError) {
  Supervised job{.work = [](const Commit&) -> Result<> { return ::pause(), Result<>{}; },
                 .commit = []() -> Result<> { return {}; },
                 .limit_seconds = 1};
  EXPECT_EQ(run_supervised(job).error().what, "took longer than 1 s");
}

}  // namespace
}  // namespace ks::upgrade
