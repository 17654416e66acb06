// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/machine.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

namespace ks::upgrade {
namespace {

TEST(Machine, AProcessIsAliveUntilItEnds) {
  pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    pause();
    _exit(0);
  }
  ProcessId process{child, start_of(child).value_or(0)};
  EXPECT_GT(process.start, 0u);
  EXPECT_TRUE(is_alive(process));
  EXPECT_FALSE(is_alive({child, process.start + 1}));
  kill(child, SIGKILL);
  siginfo_t info;
  waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT);
  EXPECT_FALSE(is_alive(process)) << "a zombie";
  waitpid(child, nullptr, 0);
  EXPECT_FALSE(is_alive(process));
}

TEST(Machine, IdsHoldGroupAndSession) {
  auto ids = ids_of(getpid());
  EXPECT_EQ(ids.front(), getpid());
  if (getpgrp() > 0) {
    EXPECT_TRUE(std::ranges::count(ids, getpgrp()));
  }
  EXPECT_GT(own_memory(getpid()), 0u);
  EXPECT_FALSE(boot_id().empty());
}

}  // namespace
}  // namespace ks::upgrade
