// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/unit_files.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace ks::upgrade {
namespace {

class UnitFilesTest : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/ks-units-XXXXXX";
    ASSERT_TRUE(mkdtemp(path));
    root_ = path;
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  void write(const std::string& name, const std::string& text) {
    std::filesystem::path path = root_ + "/" + name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }
  std::string root_;
};

constexpr char kYes[] = "[X-KernelSwap]\nCheckpoint=yes\n";

TEST_F(UnitFilesTest, FindsMarksInUnitsAndDropIns) {
  write("a.service", kYes);
  write("b.service", "[Service]\nExecStart=/bin/b\n");
  write("b.service.d/50-kernel-swap.conf", kYes);
  write("c@.service.d/x.conf", kYes);
  write("d.service.d/README", kYes);
  write("e.service", "[X-KernelSwap]\nCheckpoint=no\n");
  write("multi-user.target.wants/f.service", kYes);
  MarkedNames marked = find_marked({root_, root_ + "/none"});
  EXPECT_EQ(marked.names, (std::vector<std::string>{"a.service", "b.service", "c@.service"}));
  EXPECT_TRUE(marked.errors.empty());
}

TEST_F(UnitFilesTest, ErrorsDoNotHideTheOthers) {
  write("a.service", "[X-Kernelswap]\nCheckpoint=yes\n");
  write("b.service", kYes);
  ASSERT_EQ(symlink("/none", (root_ + "/z.service").c_str()), 0);
  MarkedNames marked = find_marked({root_});
  EXPECT_EQ(marked.names, std::vector<std::string>{"b.service"});
  ASSERT_EQ(marked.errors.size(), 1u);
  EXPECT_NE(marked.errors[0].find("a.service:1:"), std::string::npos);
}

}  // namespace
}  // namespace ks::upgrade
