// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/generator/generate.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "base/file.h"
#include "upgrade/pid_base.h"
#include "upgrade/swap_store.h"

namespace ks::upgrade {
namespace {

class GenerateTest : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/ks-generate-XXXXXX";
    ASSERT_TRUE(mkdtemp(path));
    root_ = path;
    std::filesystem::create_directories(root_ + "/sys/kernel");
    for (const char* name : {"/sys/kernel/pid_max", "/sys/kernel/ns_last_pid"}) std::ofstream(root_ + name) << "";
    std::filesystem::create_directories(root_ + "/units");
    places_ = {.out = root_ + "/out",
               .store = root_ + "/store",
               .run = root_ + "/run",
               .proc_sys = root_ + "/sys",
               .libexec = "/l",
               .boot_id = "new",
               .kernel_command_line = "root=/dev/vda",
               .unit_directories = {root_ + "/units"}};
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  Swap commit(const std::string& boot) {
    Manifest manifest{.id = "1", .boot_id = boot};
    manifest.units.push_back({.name = "a.service", .ids = {kPidFloor + 5}, .command = {"/a", {"a"}, {}}});
    manifest.units.push_back({.name = "b.service", .ids = {700000}, .command = {"/b", {"b"}, {}}});
    Swap swap = *SwapStore(places_.store).create();
    EXPECT_TRUE(swap.commit(manifest));
    return swap;
  }
  void next_boot() {
    std::filesystem::remove_all(places_.out);
    std::filesystem::remove_all(places_.run);
  }
  std::string sys(const char* name) { return read_file(root_ + "/sys/kernel/" + name).value_or("none"); }
  bool made(const std::string& name) { return std::filesystem::exists(places_.out + "/" + name); }

  std::string root_;
  Places places_;
};

TEST_F(GenerateTest, RaisesThePidFloorOnceABoot) {
  EXPECT_TRUE(generate(places_).empty());
  EXPECT_EQ(sys("pid_max"), "4194304");
  EXPECT_EQ(sys("ns_last_pid"), std::to_string(kPidFloor - 1));
  std::ofstream(root_ + "/sys/kernel/ns_last_pid") << "777777";
  EXPECT_TRUE(generate(places_).empty());
  EXPECT_EQ(sys("ns_last_pid"), "777777");
  EXPECT_FALSE(std::filesystem::exists(places_.out));
}

TEST_F(GenerateTest, CountsFromAboveTheDumpedPids) {
  commit("old");
  EXPECT_TRUE(generate(places_).empty());
  EXPECT_EQ(sys("ns_last_pid"), std::to_string(6 * kPidWindow - 1));
}

TEST_F(GenerateTest, OrdersMarkedUnits) {
  std::ofstream(root_ + "/units/m.service") << "[X-KernelSwap]\nCheckpoint=yes\n";
  EXPECT_TRUE(generate(places_).empty());
  EXPECT_EQ(*read_file(places_.out + "/m.service.d/50-kernel-swap-order.conf"),
            "[Unit]\nBefore=kernel-swap.service\n");
}

TEST_F(GenerateTest, RestoresWhatIsPending) {
  Swap swap = commit("old");
  ASSERT_TRUE(swap.withdraw("b.service"));
  EXPECT_TRUE(generate(places_).empty());
  EXPECT_TRUE(made("a.service.d/99-kernel-swap.conf"));
  EXPECT_FALSE(made("b.service.d/99-kernel-swap.conf"));
  EXPECT_EQ(*read_file(places_.out + "/kernel-swap-finish.service.d/50-swap.conf"),
            "[Unit]\nWants= a.service b.service\nAfter= a.service b.service\n");
}

TEST_F(GenerateTest, NotASecondFailureOfTheSameImage) {
  Swap swap = commit("old");
  ASSERT_TRUE(swap.begin_attempt("a.service"));
  generate(places_);
  EXPECT_TRUE(made("a.service.d/99-kernel-swap.conf"));
  next_boot();
  ASSERT_TRUE(swap.begin_attempt("a.service"));
  generate(places_);
  EXPECT_FALSE(made("a.service.d/99-kernel-swap.conf"));
  EXPECT_TRUE(made("b.service.d/99-kernel-swap.conf"));
}

TEST_F(GenerateTest, AReloadInTheMiddleOfARestoreChangesNothing) {
  Swap swap = commit("old");
  generate(places_);
  ASSERT_TRUE(swap.begin_attempt("a.service"));
  ASSERT_TRUE(swap.withdraw("a.service"));
  std::filesystem::remove_all(places_.out);
  generate(places_);
  EXPECT_TRUE(made("a.service.d/99-kernel-swap.conf"));
  ASSERT_TRUE(swap.close());
  std::filesystem::remove_all(places_.out);
  generate(places_);
  EXPECT_FALSE(std::filesystem::exists(places_.out));
}

TEST_F(GenerateTest, NotInTheBootThatDumped) {
  commit("new");
  EXPECT_TRUE(generate(places_).empty());
  EXPECT_FALSE(made("a.service.d/99-kernel-swap.conf"));
}

TEST_F(GenerateTest, NotWhenTheKernelCommandLineSaysSo) {
  commit("old");
  places_.kernel_command_line = "root=/dev/vda kernel_swap.restore=no";
  EXPECT_EQ(generate(places_).size(), 1u);
  EXPECT_FALSE(made("a.service.d/99-kernel-swap.conf"));
}

TEST_F(GenerateTest, DamageStopsNothingElse) {
  Swap swap = commit("old");
  std::ofstream(swap.directory() + "/manifest", std::ios::app) << "x";
  std::ofstream(root_ + "/units/m.service") << "[X-KernelSwap]\nCheckpoint=yes\n";
  std::filesystem::remove_all(places_.proc_sys);
  EXPECT_FALSE(generate(places_).empty());
  EXPECT_TRUE(made("m.service.d/50-kernel-swap-order.conf"));
}

}  // namespace
}  // namespace ks::upgrade
