// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/mark.h"

#include <gtest/gtest.h>

namespace ks::upgrade {
namespace {

Result<Mark> parse(std::string_view text) {
  Mark mark;
  if (auto applied = apply_mark(mark, text, "a.service"); !applied) return std::unexpected(applied.error());
  return mark;
}

TEST(Mark, AbsentMeansNo) {
  Mark mark = *parse("[Service]\nCheckpoint=yes\n");
  EXPECT_FALSE(mark.checkpoint);
  EXPECT_EQ(mark.file, "");
}

TEST(Mark, ReadsItsSection) {
  Mark mark = *parse("[Unit]\nDescription=x\n[X-KernelSwap]\n Checkpoint = Yes \nExternalSockets=reset\n");
  EXPECT_TRUE(mark.checkpoint);
  EXPECT_TRUE(mark.reset_external_sockets);
  EXPECT_FALSE(mark.leave_network_settings);
  EXPECT_EQ(mark.file, "a.service");
}

TEST(Mark, LaterFilesOverride) {
  Mark mark = *parse("[X-KernelSwap]\nCheckpoint=yes\nExternalSockets=reset\n");
  ASSERT_TRUE(apply_mark(mark, "[X-KernelSwap]\nCheckpoint=no\n", "b.conf"));
  EXPECT_FALSE(mark.checkpoint);
  EXPECT_EQ(mark.file, "b.conf");
  EXPECT_TRUE(mark.reset_external_sockets);
}

TEST(Mark, WhatIsRefusedByDefault) {
  EXPECT_TRUE(parse("[X-KernelSwap]\nNetworkSettings=leave\n")->leave_network_settings);
  for (const char* taken_back : {"", "refuse"})
    EXPECT_FALSE(parse(std::string("[X-KernelSwap]\nNetworkSettings=leave\nNetworkSettings=") + taken_back + "\n")
                     ->leave_network_settings);
  EXPECT_EQ(parse("[X-KernelSwap]\nNetworkSettings=reset\n").error().what,
            "a.service:2: NetworkSettings=\"reset\": neither refuse nor leave");
}

TEST(Mark, EmptyValueTakesBack) { EXPECT_FALSE(parse("[X-KernelSwap]\nCheckpoint=yes\nCheckpoint=\n")->checkpoint); }

TEST(Mark, CommentsAndContinuedLines) {
  Mark mark = *parse("[X-KernelSwap]\n# Checkpoint=no\nCheckpoint=\\\n; in between\n  yes\n");
  EXPECT_TRUE(mark.checkpoint);
}

TEST(Mark, ErrorsNameFileAndLine) {
  EXPECT_EQ(parse("[X-KernelSwap]\n\nCheckpont=yes\n").error().what,
            "a.service:3: unknown key \"Checkpont\" (there are Checkpoint=, ExternalSockets=, NetworkSettings=, "
            "LargestDeletedFile=, CarryPaths= and LeavePaths=)");
  EXPECT_EQ(parse("[X-KernelSwap]\nCheckpoint=maybe\n").error().what,
            "a.service:2: Checkpoint=\"maybe\": neither yes nor no");
  EXPECT_EQ(parse("[X-Kernelswap]\nCheckpoint=yes\n").error().what,
            "a.service:1: section [X-Kernelswap]: did you mean [X-KernelSwap]?");
  EXPECT_FALSE(parse("[KernelSwap]\n"));
  EXPECT_FALSE(parse("[X-KernelSwap]\nCheckpoint\n"));
}

TEST(Mark, Sizes) {
  EXPECT_EQ(parse("[X-KernelSwap]\nCheckpoint=yes\n")->largest_deleted_file, std::nullopt);
  EXPECT_EQ(parse("[X-KernelSwap]\nLargestDeletedFile=5G\n")->largest_deleted_file, uint64_t{5} << 30);
  EXPECT_EQ(parse("[X-KernelSwap]\nLargestDeletedFile=4096\n")->largest_deleted_file, 4096u);
  EXPECT_EQ(parse("[X-KernelSwap]\nLargestDeletedFile=infinity\n")->largest_deleted_file, ~uint64_t{0});
  EXPECT_EQ(parse("[X-KernelSwap]\nLargestDeletedFile=1K\nLargestDeletedFile=\n")->largest_deleted_file,
            std::nullopt);
  for (const char* wrong : {"much", "-1", "5 G", "K", "20000000T"})
    EXPECT_EQ(parse(std::string("[X-KernelSwap]\nLargestDeletedFile=") + wrong + "\n").error().what,
              std::string("a.service:2: LargestDeletedFile=\"") + wrong + "\": not a size, like 512M or infinity");
}

TEST(Mark, Paths) {
  Mark mark = *parse("[X-KernelSwap]\nCarryPaths=/run/a /run/b/\nCarryPaths=/run/c//d\n");
  EXPECT_EQ(mark.carry_paths, (std::vector<std::string>{"/run/a", "/run/b", "/run/c/d"}));
  EXPECT_TRUE(mark.leave_paths.empty());
  EXPECT_TRUE(parse("[X-KernelSwap]\nLeavePaths=/run/a\nLeavePaths=\n")->leave_paths.empty());
  for (const char* wrong : {"/run", "/run/", "/run/../etc", "a", "/var/run/a"})
    EXPECT_EQ(parse(std::string("[X-KernelSwap]\nLeavePaths=") + wrong + "\n").error().what,
              std::string("a.service:2: LeavePaths=\"") + wrong + "\": not a path below /run");
}

TEST(Mark, OtherSectionsAreNotOurs) { EXPECT_TRUE(parse("[X-Kernel]\nFoo=1\n[X-Foo]\nnonsense\n")); }

}  // namespace
}  // namespace ks::upgrade
