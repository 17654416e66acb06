// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/candidate.h"

#include <gtest/gtest.h>

namespace ks::upgrade {
namespace {

Candidate marked(std::string_view text) {
  Candidate one;
  one.unit.name = "a.service";
  EXPECT_TRUE(apply_mark(one.mark, text, "a.service"));
  return one;
}

TEST(Candidate, WhatTheMarkSaysReachesTheEngine) {
  Candidate plain = marked("[X-KernelSwap]\nCheckpoint=yes\n");
  Candidate other = marked("[X-KernelSwap]\nCheckpoint=yes\nExternalSockets=reset\nLargestDeletedFile=2K\n");
  for (auto options : {dump_options, swap_options}) {
    EXPECT_FALSE(options(plain).reset_external_sockets);
    EXPECT_EQ(options(plain).largest_deleted_file, engine::DumpOptions{}.largest_deleted_file);
    EXPECT_TRUE(options(other).reset_external_sockets);
    EXPECT_EQ(options(other).largest_deleted_file, 2048u);
  }
}

}  // namespace
}  // namespace ks::upgrade
