// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "upgrade/machine.h"
#include "upgrade/shutdown/swap_out.h"

namespace ks::upgrade {
namespace {

class CleanUpTest : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/ks-clean-XXXXXX";
    ASSERT_TRUE(mkdtemp(path));
    root_ = path;
    child_ = fork();
    if (child_ == 0) {
      pause();
      _exit(0);
    }
  }
  void TearDown() override {
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
    std::filesystem::remove_all(root_);
  }
  Swap commit(std::vector<ProcessId> processes, const std::string& boot) {
    Manifest manifest{.id = "1", .boot_id = boot};
    manifest.units.push_back({.name = "a.service", .processes = std::move(processes)});
    Swap swap = *SwapStore(root_).create();
    EXPECT_TRUE(swap.commit(manifest));
    return swap;
  }
  ProcessId living() { return {child_, start_of(child_).value_or(0)}; }
  std::string root_;
  pid_t child_ = 0;
};

TEST_F(CleanUpTest, WithdrawsTheImageOfProcessesThatLive) {
  Swap swap = commit({{999999999, 1}, living()}, boot_id());
  ASSERT_TRUE(clean_up(SwapStore(root_)));
  EXPECT_FALSE(swap.pending("a.service"));
  EXPECT_EQ(swap.outcome("a.service")->fate, Fate::cold);
}

TEST_F(CleanUpTest, KeepsTheImageOfProcessesThatHaveEnded) {
  Swap swap = commit({{child_, living().start + 1}}, boot_id());  // its PID was used again
  ASSERT_TRUE(clean_up(SwapStore(root_)));
  EXPECT_TRUE(swap.pending("a.service"));
}

TEST_F(CleanUpTest, LeavesAnotherBootsSwapAlone) {
  Swap swap = commit({living()}, "another");
  ASSERT_TRUE(clean_up(SwapStore(root_)));
  EXPECT_TRUE(swap.pending("a.service"));
}

TEST_F(CleanUpTest, RemovesWhatWasNeverCommitted) {
  Swap committed = commit({}, boot_id());
  Swap cut_short = *SwapStore(root_).create();
  std::filesystem::create_directories(cut_short.image("a.service.partial"));
  ASSERT_TRUE(clean_up(SwapStore(root_)));
  EXPECT_FALSE(std::filesystem::exists(cut_short.directory()));
  EXPECT_TRUE(std::filesystem::exists(committed.directory()));
}

}  // namespace
}  // namespace ks::upgrade
