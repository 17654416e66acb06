// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/tmpfiles.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

namespace ks::upgrade {
namespace {

class Tmpfiles : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(::mkdtemp(place_.data())); }
  void TearDown() override { std::filesystem::remove_all(place_); }
  void put(const std::string& directory, const std::string& name, const std::string& text) const {
    std::filesystem::create_directories(place_ + "/" + directory);
    std::ofstream(place_ + "/" + directory + "/" + name) << text;
  }
  std::vector<std::string> emptied() const {
    std::vector<std::string> directories = {place_ + "/etc", place_ + "/none", place_ + "/usr"};
    return emptied_at_boot(directories);
  }
  std::string place_ = "/tmp/kernel-swap-test-XXXXXX";
};

TEST_F(Tmpfiles, NameWhatABootEmpties) {
  put("usr", "tmp.conf", "# Clear tmp directories\n\nD /tmp 1777 root root -\nq /var/tmp 1777 root root 30d\n");
  put("usr", "x11.conf", "D! /tmp/.X11-unix/ 1777 root root 10d\nr! /tmp/.X[0-9]*-lock\n#D /srv\n");
  put("usr", "other.txt", "D /elsewhere\n");
  EXPECT_EQ(emptied(), (std::vector<std::string>{"/tmp", "/tmp/.X11-unix"}));
}

TEST_F(Tmpfiles, ThoseOfTheMachineWin) {
  put("usr", "tmp.conf", "D /tmp 1777 root root -\n");
  put("usr", "b.conf", "D /spool\nD /cache\n");
  put("etc", "tmp.conf", "q /tmp 1777 root root 10d\n");
  put("etc", "a.conf", "d /cache\n");
  EXPECT_EQ(emptied(), std::vector<std::string>{"/spool"});
}

}  // namespace
}  // namespace ks::upgrade
