// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/apparmor.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace ks::engine {
namespace {

TEST(AppArmor, ProfilesAreToldByTheirLabels) {
  EXPECT_EQ(profile_of("unconfined\n"), "");
  EXPECT_EQ(profile_of("named (enforce)\n"), "named");
  EXPECT_EQ(profile_of("/usr/sbin/cupsd//third_party (complain)\n"), "/usr/sbin/cupsd//third_party");
  EXPECT_EQ(profile_of("with (odd) name (unconfined)\n"), "with (odd) name");
  EXPECT_EQ(profile_of(""), "");
}

TEST(AppArmor, SaysWhatNobodyCanEnter) {
  EXPECT_EQ(why_not_enterable({.profile = "named", .previous = "", .at_exec = ""}), "");
  EXPECT_EQ(why_not_enterable({.profile = "a//b", .previous = "", .at_exec = ""}), "");
  EXPECT_NE(why_not_enterable({.profile = "a//b", .previous = "a", .at_exec = ""}).find("hat"), std::string::npos);
  EXPECT_NE(why_not_enterable({.profile = "a", .previous = "", .at_exec = "b"}).find("\"b\""), std::string::npos);
  EXPECT_NE(why_not_enterable({.profile = "a//&b", .previous = "", .at_exec = ""}), "");
  EXPECT_NE(why_not_enterable({.profile = ":lxd://unconfined", .previous = "", .at_exec = ""}), "");
}

TEST(AppArmor, IsReadWhereItIsThere) {
  auto state = apparmor_state(::getpid(), ::gettid());
  ASSERT_TRUE(state) << state.error().what;
  if (!*state) GTEST_SKIP() << "this kernel is without AppArmor";
  EXPECT_EQ((*state)->at_exec, "");
}

}  // namespace
}  // namespace ks::engine
