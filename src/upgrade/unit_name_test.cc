// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/unit_name.h"

#include <gtest/gtest.h>

namespace ks::upgrade {
namespace {

TEST(UnitName, AddsTheSuffix) {
  EXPECT_EQ(*parse_service_name("redis-server"), "redis-server.service");
  EXPECT_EQ(*parse_service_name("redis-server.service"), "redis-server.service");
  EXPECT_EQ(*parse_service_name("python3.11"), "python3.11.service");
  EXPECT_EQ(*parse_service_name("getty@tty1"), "getty@tty1.service");
}

TEST(UnitName, RefusesWhatIsNoRunningService) {
  EXPECT_FALSE(parse_service_name("cups.socket"));
  EXPECT_FALSE(parse_service_name("getty@"));
  EXPECT_FALSE(parse_service_name("getty@.service"));
  EXPECT_FALSE(parse_service_name(""));
  EXPECT_FALSE(parse_service_name("../etc/passwd"));
  EXPECT_FALSE(parse_service_name("a b"));
  EXPECT_FALSE(parse_service_name(std::string(250, 'a')));
}

TEST(UnitName, KnowsTheTemplate) {
  EXPECT_EQ(template_of("getty@tty1.service"), "getty@.service");
  EXPECT_EQ(template_of("cron.service"), "");
}

}  // namespace
}  // namespace ks::upgrade
