// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/restore/headroom.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace ks::upgrade {
namespace {

using Lines = std::vector<std::string>;

TEST(Headroom, LiftsWhatLimits) {
  EXPECT_EQ(lifting("pids.max", "40\n"), Lines{"max"});
  EXPECT_EQ(lifting("memory.high", "157286400\n"), Lines{"max"});
  EXPECT_EQ(lifting("cpu.max", "5000 100000\n"), Lines{"max"});
  EXPECT_EQ(lifting("cpu.idle", "1\n"), Lines{"0"});
  EXPECT_EQ(lifting("cpu.weight", "1\n"), Lines{"100"});
  EXPECT_EQ(
      lifting("io.max", "8:0 rbps=1000 wbps=max riops=max wiops=7\n254:0 rbps=max wbps=5 riops=max wiops=max\n"),
      (Lines{"8:0 rbps=max wbps=max riops=max wiops=max", "254:0 rbps=max wbps=max riops=max wiops=max"}));
}

TEST(Headroom, LeavesWhatDoesNot) {
  for (auto [file, text] : {std::pair("pids.max", "max\n"),
                            {"cpu.max", "max 100000\n"},
                            {"memory.max", "max\n"},
                            {"cpu.idle", "0\n"},
                            {"cpu.weight", "100\n"},
                            {"cpu.weight", "10000\n"},
                            {"io.max", ""}})
    EXPECT_EQ(lifting(file, text), Lines{}) << file << ": " << text;
}

TEST(Headroom, IsGivenBack) {
  std::string directory = "/tmp/kernel-swap-test-XXXXXX";
  ASSERT_TRUE(::mkdtemp(directory.data()));
  auto content = [&](const char* name) {
    std::ostringstream text;
    text << std::ifstream(directory + "/" + name).rdbuf();
    return text.str();
  };
  std::ofstream(directory + "/pids.max") << "40\n";
  std::ofstream(directory + "/memory.max") << "max\n";
  {
    ControlGroupHeadroom headroom(directory);
    EXPECT_TRUE(content("pids.max").starts_with("max"));
  }
  EXPECT_TRUE(content("pids.max").starts_with("40"));
  EXPECT_EQ(content("memory.max"), "max\n");
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace ks::upgrade
