// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/swap_store.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>

#include "base/file.h"

namespace ks::upgrade {
namespace {

class SwapStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/ks-store-XXXXXX";
    ASSERT_TRUE(mkdtemp(path));
    root_ = path;
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  Manifest manifest() {
    Manifest manifest{.id = "000001", .boot_id = "old", .kernel = "6.1"};
    manifest.units.push_back({.name = "a.service", .type = "simple"});
    return manifest;
  }

  std::string root_;
};

TEST_F(SwapStoreTest, NothingBeforeTheCommit) {
  SwapStore store(root_);
  Swap swap = *store.create();
  EXPECT_EQ(swap.id(), "000001");
  EXPECT_FALSE(store.newest());
  EXPECT_FALSE(store.open_swap("new"));
  ASSERT_TRUE(swap.commit(manifest()));
  EXPECT_EQ(store.newest()->id(), "000001");
  EXPECT_EQ(store.create()->id(), "000002");
  EXPECT_EQ(store.newest()->id(), "000001");
}

TEST_F(SwapStoreTest, TheBootThatDumpedDoesNotRestore) {
  SwapStore store(root_);
  ASSERT_TRUE(store.create()->commit(manifest()));
  EXPECT_FALSE(store.open_swap("old"));
  EXPECT_TRUE(store.open_swap("new"));
}

TEST_F(SwapStoreTest, AnImageIsPendingUntilWithdrawn) {
  Swap swap = *SwapStore(root_).create();
  EXPECT_FALSE(swap.pending("a.service"));
  ASSERT_TRUE(swap.commit(manifest()));
  EXPECT_EQ(swap.pending("a.service"), 0);
  ASSERT_TRUE(swap.begin_attempt("a.service"));
  EXPECT_EQ(swap.pending("a.service"), 1);
  ASSERT_TRUE(swap.withdraw("a.service"));
  ASSERT_TRUE(swap.withdraw("a.service"));
  EXPECT_FALSE(swap.pending("a.service"));
  EXPECT_FALSE(swap.begin_attempt("a.service"));
}

TEST_F(SwapStoreTest, AnImageIsTakenOnce) {
  Swap swap = *SwapStore(root_).create();
  ASSERT_TRUE(swap.commit(manifest()));
  EXPECT_TRUE(swap.take("a.service"));
  EXPECT_FALSE(swap.take("a.service"));
  EXPECT_TRUE(swap.withdraw("a.service"));
}

TEST_F(SwapStoreTest, OutcomesRoundTrip) {
  Swap swap = *SwapStore(root_).create();
  EXPECT_FALSE(swap.outcome("a.service"));
  ASSERT_TRUE(swap.record("a.service", {.fate = Fate::failed, .reason = "x \"y\"", .pause_seconds = 1.5}));
  EXPECT_EQ(swap.outcome("a.service")->fate, Fate::failed);
  EXPECT_EQ(swap.outcome("a.service")->reason, "x \"y\"");
  EXPECT_EQ(swap.outcome("a.service")->pause_seconds, 1.5);
}

TEST_F(SwapStoreTest, SettledSwapsAreNotOpen) {
  SwapStore store(root_);
  Swap swap = *store.create();
  ASSERT_TRUE(swap.commit(manifest()));
  ASSERT_TRUE(swap.close());
  EXPECT_FALSE(store.open_swap("new"));
  ASSERT_TRUE(swap.remove());
  EXPECT_TRUE(store.swaps().empty());
}

TEST_F(SwapStoreTest, ADirectoryThatOthersCanWriteIsRefused) {
  ASSERT_EQ(chmod(root_.c_str(), 0770), 0);
  EXPECT_FALSE(SwapStore(root_).create());
}

TEST_F(SwapStoreTest, JournalLinesNameTimePhaseAndUnit) {
  Swap swap = *SwapStore(root_).create();
  swap.note("dump", "a.service", "12 MiB");
  swap.note("commit", "", "1 unit");
  std::string text = swap.journal();
  EXPECT_NE(text.find("Z dump a.service 12 MiB\n"), std::string::npos) << text;
  EXPECT_NE(text.find("Z commit - 1 unit\n"), std::string::npos);
}

}  // namespace
}  // namespace ks::upgrade
