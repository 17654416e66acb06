// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/volatile.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

namespace ks::upgrade {
namespace {

TEST(Volatile, NamesWhatWouldBeLost) {
  char path[] = "/tmp/ks-volatile-XXXXXX";
  ASSERT_TRUE(mkdtemp(path));
  std::string root = path;
  for (const char* directory : {"/run/a", "/run/empty", "/tmp"})
    std::filesystem::create_directories(root + directory);
  std::ofstream(root + "/run/a/socket") << "";

  UnitState unit{.runtime_directories = {"a", "empty", "missing"}};
  auto reasons = volatile_reasons(unit, root);
  ASSERT_EQ(reasons.size(), 1u);
  EXPECT_EQ(engine::to_string(reasons[0]),
            "RuntimeDirectory=: /run/a/socket would be lost; what lies there is not carried yet");

  std::ofstream(root + "/tmp/x") << "";
  EXPECT_EQ(volatile_reasons(unit, root).size(), 1u);  // the system's /tmp is not the unit's own
  unit.private_tmp = true;
  EXPECT_EQ(volatile_reasons(unit, root).size(), 2u);
  std::filesystem::remove_all(root);
}

}  // namespace
}  // namespace ks::upgrade
