// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/candidate.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"

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
  Candidate other =
      marked("[X-KernelSwap]\nCheckpoint=yes\nExternalSockets=reset\nNetworkSettings=leave\nLargestDeletedFile=2K\n");
  auto for_swap = [](const Candidate& one) { return swap_options(one, engine::NextKernel::unknown("no")); };
  EXPECT_TRUE(for_swap(plain).next_kernel);
  EXPECT_FALSE(dump_options(plain).next_kernel);
  for (engine::DumpOptions (*options)(const Candidate&) : {dump_options, +for_swap}) {
    EXPECT_FALSE(options(plain).reset_external_sockets);
    EXPECT_FALSE(options(plain).leave_network_settings);
    EXPECT_EQ(options(plain).largest_deleted_file, engine::DumpOptions{}.largest_deleted_file);
    EXPECT_TRUE(options(other).reset_external_sockets);
    EXPECT_TRUE(options(other).leave_network_settings);
    EXPECT_EQ(options(other).largest_deleted_file, 2048u);
  }
}

TEST(Candidate, AnImageByHandLeavesFilesBehind) {
  std::string run = "/var/tmp/ks-candidate-XXXXXX";
  ASSERT_TRUE(::mkdtemp(run.data()));
  ASSERT_TRUE(replace_file(run + "/own.pid", std::to_string(::getpid()), 0600));
  RunSurvey survey = *survey_run(run);
  std::vector<pid_t> pids = {::getpid()};
  auto remarks = left_below_run(survey, {}, pids);
  EXPECT_TRUE(left_below_run(survey, {}, {}).empty());
  ASSERT_TRUE(remove_tree(run));
  ASSERT_EQ(remarks.size(), 1u);
  EXPECT_EQ(to_string(remarks[0]),
            run + "/own.pid: is no part of the image, but for sockets and what is open; a boot empties /run");
}

TEST(Candidate, WhatItHasBelowRunIsRefilled) {
  Candidate one = marked("[X-KernelSwap]\nCheckpoint=yes\n");
  one.unit.runtime_directories = {"a"};
  one.run.places = {
      {.path = "/run/b", .of_systemd = false, .whole = true, .part = {}},
      {.path = "/run", .of_systemd = false, .whole = false, .part = {.only = true, .paths = {"c.pid"}}}};
  EXPECT_EQ(dump_options(one).refilled, (std::vector<std::string>{"/run/a", "/run/b", "/run/c.pid"}));
  EXPECT_EQ(one.places().size(), 3u);
}

}  // namespace
}  // namespace ks::upgrade
