// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/drop_in.h"

#include <gtest/gtest.h>

namespace ks::upgrade {
namespace {

CarriedUnit redis() {
  return {.name = "redis-server.service",
          .main_pid = 300'000,
          .command = {"/usr/bin/redis-server", {"/usr/bin/redis-server", "--supervised", "systemd"}, {}},
          .type = "notify",
          .notify_access = "main",
          .syslog_identifier = "redis-server",
          .start_timeout_seconds = 90};
}

TEST(DropIn, IsThatOfTheDesign) {
  EXPECT_EQ(*restore_drop_in(redis(), "/usr/lib/kernel-swap"),
            "# Made by kernel-swap for the restore of this unit; gone once that is done.\n"
            "[Unit]\n"
            "ConditionPathExists=\n"
            "AssertPathExists=\n"
            "[Service]\n"
            "Type=exec\n"
            "NotifyAccess=exec\n"
            "AppArmorProfile=\n"
            "PIDFile=\n"
            "ExecCondition=\n"
            "ExecStartPre=\n"
            "ExecStart=\n"
            "ExecStart=/usr/lib/kernel-swap/placeholder \"/usr/bin/redis-server\" \"/usr/bin/redis-server\" "
            "\"--supervised\" \"systemd\"\n"
            "ExecStartPost=\n"
            "ExecStartPost=+/usr/lib/kernel-swap/restore %n --into $MAINPID\n"
            "SyslogIdentifier=redis-server\n"
            "TimeoutStartSec=180s\n");
}

TEST(DropIn, KeepsWhatTheUnitNeeds) {
  CarriedUnit unit = redis();
  unit.notify_access = "all";
  unit.sockets = {"a.socket", "b.socket"};
  unit.placeholder_not_executable = true;
  unit.start_timeout_seconds = 0;
  std::string text = *restore_drop_in(unit, "/l");
  EXPECT_NE(text.find("NotifyAccess=all\n"), std::string::npos);
  EXPECT_NE(text.find("ExecPaths=/l/placeholder\n"), std::string::npos);
  EXPECT_NE(text.find("[Unit]\nWants=b.socket\nAfter=b.socket\n"), std::string::npos);
  EXPECT_EQ(text.find("TimeoutStartSec"), std::string::npos);
}

TEST(DropIn, OfAUnknownMainProcessLeavesItUnknown) {
  CarriedUnit unit = redis();
  unit.type = "forking";
  unit.main_pid = 0;
  std::string text = *restore_drop_in(unit, "/l");
  EXPECT_NE(text.find("Type=forking\nGuessMainPID=no\nKillMode=control-group\n"), std::string::npos) << text;
  EXPECT_NE(text.find("ExecStart=/l/placeholder --fork \"/usr/bin/redis-server\""), std::string::npos) << text;
  EXPECT_NE(text.find("ExecStartPost=+/l/restore %n\n"), std::string::npos) << text;
}

TEST(DropIn, LimitGrowsWithTheImage) {
  CarriedUnit unit = redis();
  unit.memory_bytes = 100ull << 30;
  EXPECT_GT(restore_limit_seconds(unit), 5000u);
}

TEST(DropIn, AFlagOfANewerSystemdIsAnError) {
  CarriedUnit unit = redis();
  unit.command.flags = {"via-shell"};
  EXPECT_FALSE(restore_drop_in(unit, "/l"));
}

}  // namespace
}  // namespace ks::upgrade
