// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/file.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>

namespace ks {
namespace {

class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/ks-file-XXXXXX";
    ASSERT_TRUE(mkdtemp(path));
    directory_ = path;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  std::string directory_;
};

TEST_F(FileTest, ReplaceLeavesNoTemporary) {
  std::string path = directory_ + "/a";
  ASSERT_TRUE(replace_file(path, "one", 0600));
  ASSERT_TRUE(replace_file(path, "two", 0600));
  EXPECT_EQ(read_file(path).value(), "two");
  EXPECT_EQ(list_directory(directory_)->size(), 1u);
}

TEST_F(FileTest, ReplaceSurvivesAnEarlierDeath) {
  std::string path = directory_ + "/a";
  ASSERT_TRUE(write_all(open_file(path + ".new", O_WRONLY | O_CREAT)->get(), "half", "half"));
  ASSERT_TRUE(replace_file(path, "whole", 0600));
  EXPECT_EQ(read_file(path).value(), "whole");
}

TEST_F(FileTest, ReplaceFollowsNoLink) {
  std::string path = directory_ + "/a";
  ASSERT_EQ(symlink("/etc/passwd", path.c_str()), 0);
  ASSERT_TRUE(replace_file(path, "mine", 0600));
  EXPECT_TRUE(std::filesystem::is_regular_file(std::filesystem::symlink_status(path)));
}

TEST_F(FileTest, ErrorsNameThePath) {
  auto missing = read_file(directory_ + "/none");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ENOENT);
  EXPECT_EQ(missing.error().what, directory_ + "/none: No such file or directory");
}

TEST_F(FileTest, ReadExactlyRefusesAnEarlyEnd) {
  std::string path = directory_ + "/a";
  ASSERT_TRUE(replace_file(path, "abc", 0600));
  Fd fd = *open_file(path, O_RDONLY);
  std::byte four[4];
  EXPECT_FALSE(read_exactly(fd.get(), four, "four"));
}

}  // namespace
}  // namespace ks
