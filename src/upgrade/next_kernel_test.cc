// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/next_kernel.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "small_kernel.h"
#include "upgrade/json.h"

namespace ks::upgrade {
namespace {

class Announcement : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(::mkdtemp(place_.data()));
    image_ = place_ + "/vmlinuz";
    said_ = place_ + "/run/next-kernel";
    write("7.3.4");
  }
  void TearDown() override { (void)remove_tree(place_); }
  void write(const std::string& release) {
    ASSERT_TRUE(replace_file(image_, engine::small_kernel(release, engine::RingTypes().text()), 0600));
  }
  // The release, or why it is not known.
  std::string heard(const std::string& target = "kexec.target") {
    auto facts = announced_kernel(target, said_).facts();
    return facts ? facts->release : facts.error().what;
  }

  std::string place_ = "/var/tmp/ks-next-kernel-XXXXXX", image_, said_;
};

TEST_F(Announcement, IsHeardUntilItIsWithdrawn) {
  EXPECT_EQ(heard(), "nobody has said which kernel that is, as \"kernel-swap now\" does");
  ASSERT_TRUE(announce(open_kernel(image_).value(), said_));
  EXPECT_EQ(heard(), "7.3.4");
  EXPECT_EQ(heard("reboot.target"), "an ordinary reboot does not tell which one boots");
  withdraw_announcement(said_);
  EXPECT_NE(heard(), "7.3.4");
}

TEST_F(Announcement, IsOfTheFileThatWasLoaded) {
  auto file = open_kernel(image_).value();
  write("7.4.0");  // by an upgrade
  EXPECT_EQ(announce(file, said_).error().what, image_ + ": has changed while it was being loaded; try again");
  EXPECT_EQ(file.kernel.facts()->release, "7.3.4");
  ASSERT_TRUE(announce(open_kernel(image_).value(), said_));
  EXPECT_EQ(heard(), "7.4.0");
  write("7.4.0");
  EXPECT_EQ(heard(), image_ + ": has changed since it was loaded");
  ASSERT_EQ(::unlink(image_.c_str()), 0);
  EXPECT_EQ(heard(), image_ + ": No such file or directory");
}

TEST_F(Announcement, GrowsOld) {
  ASSERT_TRUE(announce(open_kernel(image_).value(), said_));
  Json json = Json::parse(read_file(said_).value()).value();
  json.set("since_boot", json.integer("since_boot").value() - 601);
  ASSERT_TRUE(replace_file(said_, json.text(), 0600));
  EXPECT_EQ(heard(), "what was said of it is too old");
  ASSERT_TRUE(replace_file(said_, "{", 0600));
  EXPECT_NE(heard(), "7.3.4");
}

TEST(KernelFile, HasToBeThere) { EXPECT_FALSE(open_kernel("/nowhere/vmlinuz")); }

}  // namespace
}  // namespace ks::upgrade
