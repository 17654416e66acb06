// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/pid_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "base/file.h"

namespace ks::upgrade {
namespace {

namespace fs = std::filesystem;

class PidFileTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(mkdtemp(place_.data()));
    fs::create_directory(place_ + "/run");
    ASSERT_EQ(chmod((place_ + "/run").c_str(), 0751), 0);
    ASSERT_TRUE(replace_file(path_(), "4711\n", 0640));
  }
  void TearDown() override { fs::remove_all(place_); }
  std::string path_() const { return place_ + "/run/a.pid"; }
  static mode_t mode_of(const std::string& path) {
    struct stat stat{};
    return ::lstat(path.c_str(), &stat) ? 0 : stat.st_mode & 07777;
  }

  std::string place_ = "/var/tmp/kernel-swap-pid-XXXXXX";
};

TEST_F(PidFileTest, ComesBack) {
  PidFile file = save_pid_file(path_()).value();
  fs::remove(path_());
  ASSERT_TRUE(load_pid_file(file));
  EXPECT_EQ(read_file(path_()).value(), "4711\n");
  EXPECT_EQ(mode_of(path_()), 0640u);
}

TEST_F(PidFileTest, WithItsDirectory) {
  PidFile file = save_pid_file(path_()).value();
  fs::remove_all(place_ + "/run");
  ASSERT_TRUE(load_pid_file(file));
  EXPECT_EQ(read_file(path_()).value(), "4711\n");
  EXPECT_EQ(mode_of(place_ + "/run"), 0751u);
}

TEST_F(PidFileTest, ThroughALinkToItsDirectory) {
  fs::create_directory_symlink("run", place_ + "/link");
  PidFile file = save_pid_file(place_ + "/link/a.pid").value();
  fs::remove(path_());
  ASSERT_TRUE(load_pid_file(file));
  EXPECT_EQ(read_file(path_()).value(), "4711\n");
}

TEST_F(PidFileTest, NotOverWhatIsThere) {
  PidFile file = save_pid_file(path_()).value();
  ASSERT_TRUE(replace_file(path_(), "1\n", 0644));
  ASSERT_TRUE(load_pid_file(file));
  EXPECT_EQ(read_file(path_()).value(), "1\n");
}

TEST_F(PidFileTest, NotThroughLinksThatAServiceHasMade) {
  PidFile file = save_pid_file(path_()).value();
  fs::rename(place_ + "/run", place_ + "/other");
  fs::remove(place_ + "/other/a.pid");
  fs::create_directory_symlink("other", place_ + "/run");
  EXPECT_FALSE(load_pid_file(file));
  EXPECT_TRUE(fs::is_empty(place_ + "/other"));
}

TEST_F(PidFileTest, ThatIsNotThereIsNone) {
  for (const std::string& path : {std::string(), place_ + "/none.pid", place_ + "/none/a.pid"}) {
    PidFile file = save_pid_file(path).value();
    EXPECT_EQ(file.directory, "") << path;
    EXPECT_TRUE(load_pid_file(file));
  }
}

TEST_F(PidFileTest, ThatIsSomethingElseIsAnError) {
  ASSERT_EQ(mkfifo((place_ + "/fifo").c_str(), 0600), 0);
  fs::create_symlink("run/a.pid", place_ + "/link.pid");
  fs::create_directory(place_ + "/directory");
  for (const char* name : {"/fifo", "/link.pid", "/directory"}) EXPECT_FALSE(save_pid_file(place_ + name)) << name;
}

}  // namespace
}  // namespace ks::upgrade
