// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <utility>
#include <vector>

#include "upgrade/restore/placeholder_control.h"

namespace ks::upgrade {
namespace {

// The built placeholder, or the test is skipped.
const char* program() { return getenv("KS_PLACEHOLDER"); }

pid_t start(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), program());
  arguments.push_back(nullptr);
  pid_t child = fork();
  if (child == 0) {
    setenv("X", "7", 1);
    execv(program(), const_cast<char**>(arguments.data()));
    _exit(99);
  }
  return child;
}

int ended(pid_t child) {
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

std::vector<pid_t> children() {
  std::ifstream file("/proc/thread-self/children");
  return {std::istream_iterator<pid_t>(file), {}};
}

TEST(Placeholder, ListensOnceItsSignalsAreBlocked) {
  EXPECT_TRUE(listens("Name:\tplaceholder\nSigBlk:\t0000000000008000\nSigIgn:\t0\n"));
  EXPECT_FALSE(listens("SigBlk:\t0000000000000a00\n"));
  EXPECT_FALSE(listens("SigIgn:\t0000000000008000\n"));
  EXPECT_FALSE(listens(""));
}

TEST(Placeholder, EndsWhenDismissed) {
  if (!program()) GTEST_SKIP() << "KS_PLACEHOLDER is not set";
  pid_t child = start({"/bin/false", "false"});
  ASSERT_TRUE(tell_placeholder(child, Word::dismissed));
  EXPECT_EQ(ended(child), 0);
}

TEST(Placeholder, BecomesTheProgramWithItsNameArgumentsAndEnvironment) {
  if (!program()) GTEST_SKIP() << "KS_PLACEHOLDER is not set";
  pid_t child = start({"/bin/sh", "-other-name", "-c", "[ $0 = a ] && [ $1 = b ] && [ $X = 7 ] && exit 5", "a", "b"});
  ASSERT_TRUE(tell_placeholder(child, Word::become));
  EXPECT_EQ(ended(child), 5);
}

// As systemd sees it: what it has started ends, and a child of that is there.
TEST(Placeholder, LeavesAChildThatWaits) {
  if (!program()) GTEST_SKIP() << "KS_PLACEHOLDER is not set";
  ASSERT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
  for (auto [word, status] : {std::pair(Word::become, 6), {Word::dismissed, 0}}) {
    EXPECT_EQ(ended(start({"--fork", "/bin/sh", "sh", "-c", "[ $0 = a ] && exit 6", "a"})), 0);
    auto left = children();
    ASSERT_EQ(left.size(), 1u);
    ASSERT_TRUE(tell_placeholder(left[0], word));
    EXPECT_EQ(ended(left[0]), status);
  }
  ASSERT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0), 0);
}

TEST(Placeholder, GivesTheSignalMaskBack) {
  if (!program()) GTEST_SKIP() << "KS_PLACEHOLDER is not set";
  pid_t child = start({"/bin/sh", "sh", "-c", "grep -q '^SigBlk:.0000000000000000$' /proc/self/status"});
  ASSERT_TRUE(tell_placeholder(child, Word::become));
  EXPECT_EQ(ended(child), 0);
}

TEST(Placeholder, SaysWhenItCannotBecomeTheProgram) {
  if (!program()) GTEST_SKIP() << "KS_PLACEHOLDER is not set";
  pid_t child = start({"/none", "none"});
  ASSERT_TRUE(tell_placeholder(child, Word::become));
  EXPECT_EQ(ended(child), 203);
}

TEST(Placeholder, DiesOfTheManagersSignal) {
  if (!program()) GTEST_SKIP() << "KS_PLACEHOLDER is not set";
  pid_t child = start({"/bin/false", "false"});
  kill(child, SIGTERM);
  EXPECT_EQ(ended(child), -SIGTERM);
  EXPECT_FALSE(tell_placeholder(child, Word::become));
}

}  // namespace
}  // namespace ks::upgrade
