// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/file_tree.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/file.h"

namespace ks::upgrade {
namespace {

namespace fs = std::filesystem;

class FileTreeTest : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/var/tmp/ks-tree-XXXXXX";
    ASSERT_TRUE(mkdtemp(path));
    root_ = path;
    for (const std::string& directory : {from_ = root_ + "/from", to_ = root_ + "/to"})
      fs::create_directory(directory);
    write("pid", "42\n");
  }
  void TearDown() override { fs::remove_all(root_); }

  void write(const std::string& name, const std::string& text) { std::ofstream(from_ + "/" + name) << text; }
  struct stat look(const std::string& path) {
    struct stat status{};
    EXPECT_EQ(lstat(path.c_str(), &status), 0) << path;
    return status;
  }
  void copy() {
    auto kept = copy_tree(from_, to_);
    ASSERT_TRUE(kept) << kept.error().what;
    EXPECT_TRUE(kept->empty());
    EXPECT_EQ(*digest_tree(to_), *digest_tree(from_));
  }
  std::string root_, from_, to_;
};

TEST_F(FileTreeTest, OwnersModesAndTimes) {
  timespec times[] = {{1, 2}, {3, 4}};
  fs::create_directory(from_ + "/inner");
  for (const char* name : {"/pid", "/inner", ""}) {
    ASSERT_EQ(chown((from_ + name).c_str(), 12345, 54321), 0);
    ASSERT_EQ(chmod((from_ + name).c_str(), 06751), 0);
    ASSERT_EQ(utimensat(AT_FDCWD, (from_ + name).c_str(), times, 0), 0);
  }
  copy();
  for (const char* name : {"/pid", "/inner", ""}) {
    struct stat status = look(to_ + name);
    EXPECT_EQ(status.st_mode & 07777, 06751u) << name;
    EXPECT_EQ(status.st_uid, 12345u) << name;
    EXPECT_EQ(status.st_gid, 54321u) << name;
    EXPECT_EQ(status.st_mtim.tv_sec, 3) << name;
    EXPECT_EQ(status.st_mtim.tv_nsec, 4) << name;
  }
  EXPECT_EQ(*read_file(to_ + "/pid"), "42\n");
}

TEST_F(FileTreeTest, NamesOfAnyBytes) {
  for (const char* name : {"-rf", "a\nb", "\xff\xfe", " ", "*", "\\", ".hidden"}) write(name, name);
  copy();
  EXPECT_EQ(*read_file(to_ + "/a\nb"), "a\nb");
  EXPECT_EQ(*read_file(to_ + "/\xff\xfe"), "\xff\xfe");
}

TEST_F(FileTreeTest, LinksAreNotFollowed) {
  fs::create_symlink("/etc/passwd", from_ + "/file");
  fs::create_symlink("/etc", from_ + "/directory");
  fs::create_symlink("nowhere", from_ + "/dangling");
  ASSERT_EQ(lchown((from_ + "/file").c_str(), 12345, 54321), 0);
  copy();
  EXPECT_EQ(*read_link(to_ + "/file"), "/etc/passwd");
  EXPECT_EQ(*read_link(to_ + "/directory"), "/etc");
  EXPECT_EQ(*read_link(to_ + "/dangling"), "nowhere");
  EXPECT_EQ(look(to_ + "/file").st_uid, 12345u);
}

TEST_F(FileTreeTest, HardLinksStayOneFile) {
  fs::create_hard_link(from_ + "/pid", from_ + "/other");
  fs::create_hard_link(from_ + "/pid", root_ + "/outside");
  copy();
  EXPECT_EQ(look(to_ + "/pid").st_ino, look(to_ + "/other").st_ino);
  EXPECT_EQ(look(to_ + "/pid").st_nlink, 2u);
}

TEST_F(FileTreeTest, FifosSocketsAndDevices) {
  ASSERT_EQ(mkfifo((from_ + "/fifo").c_str(), 0620), 0);
  ASSERT_EQ(mknod((from_ + "/socket").c_str(), S_IFSOCK | 0777, 0), 0);
  copy();
  EXPECT_EQ(look(to_ + "/fifo").st_mode, look(from_ + "/fifo").st_mode);
  EXPECT_EQ(look(to_ + "/socket").st_mode, look(from_ + "/socket").st_mode);
  if (mknod((from_ + "/null").c_str(), S_IFCHR | 0600, makedev(1, 3)) != 0)
    GTEST_SKIP() << "mknod of a device: " << strerror(errno);
  fs::remove_all(to_);
  fs::create_directory(to_);
  copy();
  EXPECT_EQ(look(to_ + "/null").st_rdev, makedev(1, 3));
}

TEST_F(FileTreeTest, HolesStayHoles) {
  write("sparse", "");
  fs::resize_file(from_ + "/sparse", 1ull << 40);
  {
    Fd file = *open_file(from_ + "/sparse", O_WRONLY);
    ASSERT_EQ(pwrite(file.get(), "x", 1, (1ll << 39) + 7), 1);
  }
  copy();
  struct stat status = look(to_ + "/sparse");
  EXPECT_EQ(status.st_size, 1ll << 40);
  EXPECT_LT(status.st_blocks * 512, 1 << 20);
  EXPECT_LT(*measure_tree(from_), 1u << 20);
  Fd file = *open_file(to_ + "/sparse", O_RDONLY);
  char byte = 0;
  ASSERT_EQ(pread(file.get(), &byte, 1, (1ll << 39) + 7), 1);
  EXPECT_EQ(byte, 'x');
}

TEST_F(FileTreeTest, ExtendedAttributes) {
  std::string path = from_ + "/pid";
  if (setxattr(path.c_str(), "trusted.test", "a\0b", 3, 0) != 0) GTEST_SKIP() << "setxattr: " << strerror(errno);
  // An ACL as the kernel takes it: version 2; user::rw-, user:12345:r--, group::r--, mask::r--, other::---
  unsigned char acl[] = {2, 0,    0,    0,   1,   0,   6,  0, 255, 255, 255, 255, 2,   0,  4,
                         0, 0x39, 0x30, 0,   0,   4,   0,  4, 0,   255, 255, 255, 255, 16, 0,
                         4, 0,    255,  255, 255, 255, 32, 0, 0,   0,   255, 255, 255, 255};
  ASSERT_EQ(setxattr(path.c_str(), "system.posix_acl_access", acl, sizeof acl, 0), 0) << strerror(errno);
  acl[36] = 32;
  ASSERT_EQ(setxattr(from_.c_str(), "system.posix_acl_default", acl, sizeof acl, 0), 0) << strerror(errno);
  write("later", "");  // does not inherit it a second time
  copy();
  char value[4] = {};
  EXPECT_EQ(getxattr((to_ + "/pid").c_str(), "trusted.test", value, sizeof value), 3);
  EXPECT_GT(getxattr((to_ + "/pid").c_str(), "system.posix_acl_access", nullptr, 0), 0);
  EXPECT_GT(getxattr(to_.c_str(), "system.posix_acl_default", nullptr, 0), 0);
}

TEST_F(FileTreeTest, WhatIsThereAlreadyStays) {
  fs::create_directory(from_ + "/inner");
  write("inner/file", "old");
  fs::create_directory(to_ + "/inner");
  std::ofstream(to_ + "/inner/file") << "new";
  fs::create_symlink("/etc", to_ + "/pid");
  auto kept = copy_tree(from_, to_);
  ASSERT_TRUE(kept) << kept.error().what;
  EXPECT_EQ(*kept, (std::vector<std::string>{to_ + "/inner/file", to_ + "/pid"}));
  EXPECT_EQ(*read_file(to_ + "/inner/file"), "new");
  EXPECT_EQ(*read_link(to_ + "/pid"), "/etc");
}

TEST_F(FileTreeTest, EveryChangeChangesTheDigest) {
  std::string before = *digest_tree(from_);
  struct stat status = look(from_ + "/pid");
  timespec times[] = {status.st_atim, status.st_mtim};
  auto expect_change = [&](const char* what) {
    ASSERT_EQ(utimensat(AT_FDCWD, (from_ + "/pid").c_str(), times, 0), 0);
    EXPECT_NE(*digest_tree(from_), before) << what;
  };
  write("pid", "43\n");
  expect_change("a byte");
  write("pid", std::string("42\n\0", 4));
  expect_change("a zero at the end");
  write("pid", "42\n");
  ASSERT_EQ(chmod((from_ + "/pid").c_str(), 0600), 0);
  expect_change("a mode");
}

TEST_F(FileTreeTest, WhatIsMountedBelowIsLeftOut) {
  pid_t child = fork();
  if (child == 0) {
    if (unshare(CLONE_NEWNS) || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr)) _exit(77);
    fs::create_directory(from_ + "/mounted");
    if (mount(root_.c_str(), (from_ + "/mounted").c_str(), nullptr, MS_BIND, nullptr)) _exit(77);
    auto copied = copy_tree(from_, to_);
    _exit(copied && !fs::exists(to_ + "/mounted") && fs::exists(to_ + "/pid") ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "no mount namespace of our own";
  EXPECT_EQ(status, 0);
}

TEST_F(FileTreeTest, ErrorsNameThePath) {
  EXPECT_EQ(copy_tree(root_ + "/none", to_).error().what, root_ + "/none: No such file or directory");
  EXPECT_FALSE(digest_tree(root_ + "/none"));
  EXPECT_EQ(measure_tree(root_ + "/none").error().code, ENOENT);
}

TEST_F(FileTreeTest, APartOfIt) {
  fs::create_directories(from_ + "/inner/deep");
  for (const char* name : {"other", "inner/one", "inner/two", "inner/deep/three"}) write(name, name);
  ASSERT_EQ(chmod(from_.c_str(), 0711), 0);
  ASSERT_EQ(chmod(to_.c_str(), 0755), 0);
  Part some{.only = true, .paths = {"pid", "inner"}},
      rest{.only = false, .paths = {"pid", "inner/one", "inner/deep"}};
  EXPECT_LT(*measure_tree(from_, some), *measure_tree(from_));
  ASSERT_TRUE(copy_tree(from_, to_, some, false));
  EXPECT_EQ(look(to_).st_mode & 07777, 0755u);
  for (const char* name : {"/pid", "/inner/one", "/inner/deep/three"}) EXPECT_TRUE(fs::exists(to_ + name)) << name;
  EXPECT_FALSE(fs::exists(to_ + "/other"));
  fs::remove_all(to_);
  fs::create_directory(to_);
  ASSERT_TRUE(copy_tree(from_, to_, rest));
  EXPECT_EQ(look(to_).st_mode & 07777, 0711u);
  for (const char* name : {"/other", "/inner/two"}) EXPECT_TRUE(fs::exists(to_ + name)) << name;
  for (const char* name : {"/pid", "/inner/one", "/inner/deep"}) EXPECT_FALSE(fs::exists(to_ + name)) << name;
}

TEST_F(FileTreeTest, ACopyIsTakenBackButForWhatItFound) {
  fs::create_directories(from_ + "/inner/deep");
  fs::create_directory(from_ + "/made");
  for (const char* name : {"inner/one", "inner/deep/two", "made/three"}) write(name, "copied");
  fs::create_symlink("/etc/passwd", from_ + "/link");
  fs::create_directories(to_ + "/inner/deep");
  std::ofstream(to_ + "/inner/one") << "found";
  std::ofstream(to_ + "/more") << "found";
  auto found = in_the_way(from_, to_);
  ASSERT_TRUE(found) << found.error().what;
  EXPECT_EQ(*found, (std::set<std::string>{"inner", "inner/deep", "inner/one"}));
  ASSERT_TRUE(copy_tree(from_, to_));
  std::ofstream(to_ + "/made/since") << "somebody's";
  ASSERT_TRUE(remove_copy(from_, to_, *found));
  std::set<std::string> left;
  for (const auto& entry : fs::recursive_directory_iterator(to_))
    left.insert(entry.path().string().substr(to_.size() + 1));
  EXPECT_EQ(left, (std::set<std::string>{"inner", "inner/deep", "inner/one", "made", "made/since", "more"}));
  EXPECT_EQ(*read_file(to_ + "/inner/one"), "found");
  EXPECT_TRUE(fs::exists("/etc/passwd"));
}

}  // namespace
}  // namespace ks::upgrade
