// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/volatile.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/file.h"

namespace ks::upgrade {
namespace {

class VolatileTest : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/run/ks-places-XXXXXX";
    ASSERT_TRUE(mkdtemp(path));
    place_ = path;
    char other[] = "/var/tmp/ks-store-XXXXXX";
    ASSERT_TRUE(mkdtemp(other));
    store_ = other;
    std::filesystem::create_directories(place_ + "/empty");
    std::ofstream(place_ + "/pid") << "42\n";
    unit_.main_pid = getpid();
    unit_.runtime_directories = {place_.substr(5)};
  }
  void TearDown() override {
    std::filesystem::remove_all(place_);
    std::filesystem::remove_all(store_);
  }
  std::vector<SavedPlace> save() {
    auto saved = save_places(as_places(volatile_places(unit_)), getpid(), store_ + "/a.service.places");
    EXPECT_TRUE(saved) << saved.error().what;
    return saved ? *saved : std::vector<SavedPlace>{};
  }
  Result<std::vector<std::string>> load(const std::vector<SavedPlace>& saved) {
    std::vector<std::string> failed;
    return load_places(saved, getpid(), store_ + "/a.service.places", failed);
  }
  void make_anew() {
    std::filesystem::remove_all(place_);
    std::filesystem::create_directory(place_);
  }
  std::string place_, store_;
  UnitState unit_;
};

TEST_F(VolatileTest, OfTheUnit) {
  UnitState unit;
  EXPECT_TRUE(volatile_places(unit).empty());
  unit.runtime_directories = {"a", "b/c", "a/inner", "ab"};
  unit.private_tmp = true;
  EXPECT_EQ(volatile_places(unit), (std::vector<std::string>{"/run/a", "/run/b/c", "/run/ab", "/tmp", "/var/tmp"}));
}

TEST_F(VolatileTest, ARootInAPrivateTmpIsAReason) {
  if (::geteuid() != 0) GTEST_SKIP() << "must be run as root";
  std::string root = "/var/tmp/ks-root-" + std::to_string(getpid());
  std::filesystem::create_directory(root);
  int begun[2];
  ASSERT_EQ(pipe(begun), 0);
  pid_t child = fork();
  if (child == 0) {
    if (::chroot(root.c_str()) || write(begun[1], "", 1) != 1) _exit(1);
    for (;;) pause();
  }
  char byte;
  EXPECT_EQ(read(begun[0], &byte, 1), 1);
  std::vector<pid_t> pids = {getpid(), child};
  unit_.private_tmp = true;
  auto places = as_places(volatile_places(unit_));
  places.resize(1);  // not all of /tmp
  auto reasons = place_reasons(unit_, places, pids);
  ASSERT_EQ(reasons.size(), 1u);
  EXPECT_EQ(reasons[0].pid, child);
  EXPECT_EQ(reasons[0].object, "root (" + root + ")");
  unit_.private_tmp = false;
  EXPECT_TRUE(place_reasons(unit_, places, pids).empty());
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  std::filesystem::remove(root);
}

TEST_F(VolatileTest, WithoutThemContentsWouldBeLost) {
  EXPECT_EQ(loss_reasons(unit_).size(), 1u);
  make_anew();
  EXPECT_TRUE(loss_reasons(unit_).empty());
}

TEST_F(VolatileTest, ContentsComeBack) {
  unit_.runtime_directories.push_back("ks-none");
  auto saved = save();
  ASSERT_EQ(saved.size(), 1u);
  EXPECT_GT(saved[0].bytes, 0u);
  make_anew();
  auto kept = load(saved);
  ASSERT_TRUE(kept) << kept.error().what;
  EXPECT_TRUE(kept->empty());
  EXPECT_EQ(*read_file(place_ + "/pid"), "42\n");
  EXPECT_TRUE(std::filesystem::is_directory(place_ + "/empty"));
}

// It sees another one there, and then nothing, from another root directory. systemd sees the former.
TEST_F(VolatileTest, AsTheSandboxHasThem) {
  if (::geteuid() != 0) GTEST_SKIP() << "must be run as root";
  int begun[2];
  ASSERT_EQ(pipe(begun), 0);
  pid_t child = fork();
  if (child == 0) {
    bool fine = ::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                ::mount("none", place_.c_str(), "tmpfs", 0, nullptr) == 0 &&
                replace_file(place_ + "/pid", "43\n", 0600) && ::chroot("/var/tmp") == 0;
    if (!fine || write(begun[1], "", 1) != 1) _exit(1);
    for (;;) pause();
  }
  close(begun[1]);
  char byte;
  EXPECT_EQ(read(begun[0], &byte, 1), 1) << "no mount namespaces";
  auto saved = save_places(as_places(volatile_places(unit_)), child, store_ + "/a.service.places");
  ASSERT_TRUE(saved) << saved.error().what;
  ASSERT_EQ(saved->size(), 1u);
  EXPECT_EQ(read_file(store_ + "/a.service.places/" + saved->front().name + "/pid").value_or(""), "43\n");
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
}

TEST_F(VolatileTest, AnothersFileStays) {
  auto saved = save();
  make_anew();
  std::ofstream(place_ + "/pid") << "43\n";
  auto kept = load(saved);
  ASSERT_TRUE(kept) << kept.error().what;
  EXPECT_EQ(*kept, std::vector{place_ + "/pid"});
  EXPECT_EQ(*read_file(place_ + "/pid"), "43\n");
}

TEST_F(VolatileTest, DamageIsFoundBeforeAnythingIsWritten) {
  auto saved = save();
  std::ofstream(store_ + "/a.service.places/0/pid", std::ios::app) << "x";
  make_anew();
  auto loaded = load(saved);
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().what, place_ + ": damaged: the checksum of what is to lie there differs");
  EXPECT_TRUE(std::filesystem::is_empty(place_));
  std::filesystem::remove_all(store_ + "/a.service.places/0");
  EXPECT_FALSE(load(saved));
}

TEST_F(VolatileTest, APlaceThatIsGoneIsAnError) {
  auto saved = save();
  std::filesystem::remove_all(place_);
  auto loaded = load(saved);
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().what, place_ + ": No such file or directory");
}

}  // namespace
}  // namespace ks::upgrade
