// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/keyrings.h"

#include <gtest/gtest.h>
#include <linux/keyctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "engine/kernel/envoy.h"

namespace ks::engine {
namespace {

long serial(int which, bool make) { return ::syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, which, make); }

TEST(Keyrings, OfAProcessAreSeen) {
  auto bare = Envoy::send([]() -> Result<std::string> { return ""; });
  auto owner = Envoy::send([]() -> Result<std::string> {
    long session = ::syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0);
    if (session < 0) return "";
    ThreadKeyrings all{.thread = static_cast<int32_t>(serial(KEY_SPEC_THREAD_KEYRING, true)),
                       .process = static_cast<int32_t>(serial(KEY_SPEC_PROCESS_KEYRING, true)),
                       .session = static_cast<int32_t>(session)};
    return std::string(reinterpret_cast<const char*>(&all), sizeof all);
  });
  ASSERT_TRUE(bare && owner);
  if (owner->said().empty()) GTEST_SKIP() << "no keyrings";
  auto seen = keyrings_of(owner->pid());
  if (!seen) GTEST_SKIP() << seen.error().what;
  ThreadKeyrings told;
  ASSERT_EQ(owner->said().size(), sizeof told);
  std::memcpy(&told, owner->said().data(), sizeof told);
  ASSERT_EQ(seen->size(), 1u);
  EXPECT_EQ(seen->front().thread, told.thread);
  EXPECT_EQ(seen->front().process, told.process);
  EXPECT_EQ(seen->front().session, told.session);
  auto none = keyrings_of(bare->pid());
  ASSERT_TRUE(none && none->size() == 1);
  EXPECT_EQ(none->front().thread, 0);
  EXPECT_EQ(none->front().process, 0);
}

}  // namespace
}  // namespace ks::engine
