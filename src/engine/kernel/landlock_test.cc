// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/landlock.h"

#include <gtest/gtest.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string>
#include <thread>

#include "base/fd.h"
#include "engine/kernel/envoy.h"

namespace ks::engine {
namespace {

void give_up_rights() {
  landlock_ruleset_attr rules{};
  rules.handled_access_fs = LANDLOCK_ACCESS_FS_MAKE_SYM;
  Fd ruleset(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &rules, sizeof rules.handled_access_fs, 0)));
  ASSERT_TRUE(ruleset);
  ASSERT_EQ(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
  ASSERT_EQ(::syscall(SYS_landlock_restrict_self, ruleset.get(), 0), 0);
}

Result<Envoy> send(bool thread_only, bool gives_up) {
  return Envoy::send([=]() -> Result<std::string> {
    if (gives_up && !thread_only) give_up_rights();
    if (gives_up && thread_only) std::thread([] { give_up_rights(), ::pause(); }).detach();
    for (int i = 0; i < 200 && thread_only; ++i) ::usleep(1000);  // until the thread has
    return "";
  });
}

TEST(LandlockDomain, OfAProcessOrOneThreadIsSeen) {
  if (::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION) < 0)
    GTEST_SKIP() << "no Landlock";
  auto free = send(false, false), process = send(false, true), thread = send(true, true);
  ASSERT_TRUE(free && process && thread);
  if (auto looked = is_in_landlock_domain(free->pid()); !looked) GTEST_SKIP() << looked.error().what;
  EXPECT_TRUE(is_anybody_in_landlock_domain().value());
  EXPECT_FALSE(is_in_landlock_domain(::getpid()).value());
  EXPECT_FALSE(is_in_landlock_domain(free->pid()).value());
  EXPECT_TRUE(is_in_landlock_domain(process->pid()).value());
  EXPECT_TRUE(is_in_landlock_domain(thread->pid()).value());
}

}  // namespace
}  // namespace ks::engine
