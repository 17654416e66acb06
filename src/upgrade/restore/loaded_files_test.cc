// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/restore/loaded_files.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/file.h"
#include "upgrade/volatile.h"

namespace ks::upgrade {
namespace {

namespace fs = std::filesystem;

class LoadedFilesTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(::mkdtemp(place_.data()));
    fs::create_directories(place_ + "/run/a");
    for (const char* name : {"/run/a/one", "/run/a/t\nwo", "/run/a.pid"})
      std::ofstream(place_ + name) << "of the service\n";
    swap_.emplace(SwapStore(place_ + "/store").create().value());
    std::vector<Place> places = {
        {.path = place_ + "/run", .of_systemd = false, .whole = false, .part = {.only = true, .paths = {"a.pid"}}},
        {.path = place_ + "/run/a", .of_systemd = false, .whole = true, .part = {}}};
    unit_.name = "a.service";
    unit_.places = save_places(places, ::getpid(), swap_->places(unit_.name)).value();
    fs::remove_all(place_ + "/run");
    fs::create_directories(place_ + "/run");
  }
  void TearDown() override { fs::remove_all(place_); }

  std::string records() const { return place_ + "/loading"; }
  void load() {
    ASSERT_TRUE(begin_to_load(*swap_, unit_, ::getpid(), records()));
    auto loaded = load_files(*swap_, unit_, ::getpid());
    ASSERT_TRUE(loaded) << loaded.error().what;
    kept_ = loaded->kept;
  }

  std::string place_ = "/var/tmp/ks-loaded-XXXXXX";
  std::optional<Swap> swap_;
  CarriedUnit unit_;
  std::vector<std::string> kept_;
};

TEST_F(LoadedFilesTest, StayWithWhoRuns) {
  load();
  keep_loaded(unit_, records());
  ASSERT_TRUE(take_back_loaded(*swap_, unit_, 0, records()));
  EXPECT_EQ(*read_file(place_ + "/run/a/t\nwo"), "of the service\n");
  EXPECT_EQ(*read_file(place_ + "/run/a.pid"), "of the service\n");
  EXPECT_FALSE(fs::exists(records()));
}

TEST_F(LoadedFilesTest, GoWhenItIsNotRestored) {
  load();
  ASSERT_TRUE(take_back_loaded(*swap_, unit_, 0, records()));
  EXPECT_TRUE(fs::is_empty(place_ + "/run"));
  EXPECT_FALSE(fs::exists(records()));
}

TEST_F(LoadedFilesTest, OthersFilesStay) {
  fs::create_directory(place_ + "/run/a");
  std::ofstream(place_ + "/run/a/t\nwo") << "another's\n";
  load();
  EXPECT_EQ(kept_, std::vector{place_ + "/run/a/t\nwo"});
  ASSERT_TRUE(take_back_loaded(*swap_, unit_, 0, records()));
  EXPECT_EQ(*read_file(place_ + "/run/a/t\nwo"), "another's\n");
  EXPECT_FALSE(fs::exists(place_ + "/run/a/one"));
  EXPECT_FALSE(fs::exists(place_ + "/run/a.pid"));
}

TEST_F(LoadedFilesTest, WhatAnAttemptLeftThatWasCutShortDoesNotStay) {
  ASSERT_TRUE(begin_to_load(*swap_, unit_, ::getpid(), records()));
  fs::create_directory(place_ + "/run/a");
  std::ofstream(place_ + "/run/a/one") << "of the";
  ASSERT_TRUE(take_back_loaded(*swap_, unit_, 0, records()));
  load();
  EXPECT_TRUE(kept_.empty());
  EXPECT_EQ(*read_file(place_ + "/run/a/one"), "of the service\n");
}

}  // namespace
}  // namespace ks::upgrade
