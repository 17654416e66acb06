// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/kernels.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

namespace ks::upgrade {
namespace {

TEST(Kernels, VersionsInDebiansOrder) {
  EXPECT_EQ(kernel_versions({"vmlinuz-6.12.9-1-amd64", "initrd.img-6.1.0-50-amd64", "vmlinuz-6.1.0-9-amd64", "grub",
                             "vmlinuz-6.1.0-50-amd64", "vmlinuz-6.12.107+deb13-amd64", "vmlinuz-6.1.0-50-amd64.old",
                             "vmlinuz-6.12~rc7-amd64", "vmlinuz-6.2-amd64", "vmlinuz-"}),
            (std::vector<std::string>{"6.1.0-9-amd64", "6.1.0-50-amd64", "6.2-amd64", "6.12~rc7-amd64",
                                      "6.12.9-1-amd64", "6.12.107+deb13-amd64"}));
}

TEST(Kernels, CompareIsAnOrder) {
  EXPECT_EQ(compare_versions("6.1", "6.1"), 0);
  EXPECT_EQ(compare_versions("6.01", "6.1"), 0);
  EXPECT_LT(compare_versions("6.1", "6.1.1"), 0);
  EXPECT_GT(compare_versions("6.10", "6.9"), 0);
  EXPECT_LT(compare_versions("6.12~rc1", "6.12"), 0);
  EXPECT_GT(compare_versions("6.12", "6.12~rc1"), 0);
}

TEST(Kernels, CommandLineIsCleaned) {
  EXPECT_EQ(next_command_line("BOOT_IMAGE=/boot/vmlinuz-6.1 root=UUID=1  ro quiet initrd=\\x\n", ""),
            "root=UUID=1 ro quiet");
  EXPECT_EQ(next_command_line("root=/dev/vda\n", " console=ttyS0 "), "root=/dev/vda console=ttyS0");
  EXPECT_EQ(next_command_line("", "a=\"b c\""), "a=\"b c\"");
}

TEST(Kernels, FindsImageAndInitrd) {
  char boot[] = "/tmp/ks-boot-XXXXXX";
  ASSERT_TRUE(mkdtemp(boot));
  std::string root = boot;
  EXPECT_FALSE(installed_kernel("", root));
  for (const char* name : {"/vmlinuz-6.1", "/vmlinuz-6.12", "/initrd.img-6.12"}) std::ofstream(root + name) << 1;
  EXPECT_EQ(installed_kernel("", root)->image, root + "/vmlinuz-6.12");
  EXPECT_EQ(installed_kernel("", root)->initrd, root + "/initrd.img-6.12");
  EXPECT_EQ(installed_kernel("6.1", root)->initrd, "");
  EXPECT_EQ(installed_kernel("5.0", root).error().what, "5.0: no such kernel in " + root + " (there are 6.1, 6.12)");
  std::filesystem::remove_all(root);
}

}  // namespace
}  // namespace ks::upgrade
