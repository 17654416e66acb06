// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/readiness.h"

#include <gtest/gtest.h>

#include "upgrade/pid_base.h"

namespace ks::upgrade {
namespace {

UnitState running() {
  UnitState unit;
  unit.name = "a.service";
  unit.load_state = "loaded";
  unit.active_state = "active";
  unit.sub_state = "running";
  unit.type = "simple";
  unit.main_pid = 200000;
  unit.start = {{"/usr/bin/a", {"a"}, {}}};
  return unit;
}

std::string only_object(const UnitState& unit) {
  auto reasons = unit_reasons(unit);
  return reasons.size() == 1 ? reasons[0].object : "";
}

TEST(Readiness, AnOrdinaryServiceIsReady) { EXPECT_TRUE(unit_reasons(running()).empty()); }

TEST(Readiness, NamesWhatCannotBe) {
  UnitState unit = running();
  unit.type = "oneshot";
  EXPECT_EQ(only_object(unit), "unit");
  unit = running();
  unit.load_state = "not-found";
  EXPECT_EQ(unit_reasons(unit)[0].text, "no such unit");
  unit = running();
  unit.active_state = "reloading";
  EXPECT_EQ(only_object(unit), "unit");
  unit = running();
  unit.main_pid = 0;
  EXPECT_TRUE(unit_reasons(unit).empty());
  unit = running();
  unit.start[0].flags = {"via-shell"};
  EXPECT_EQ(only_object(unit), "ExecStart=");
  unit = running();
  unit.type = "dbus";
  EXPECT_EQ(only_object(unit), "Type=dbus");
  unit = running();
  unit.dynamic_user = true;
  unit.stored_descriptors = 2;
  EXPECT_EQ(unit_reasons(unit).size(), 2u);
}

TEST(Readiness, PidsBelowTheFloorNameTheRemedy) {
  EXPECT_TRUE(pid_reasons(kPidFloor, false).empty());
  EXPECT_NE(pid_reasons(400, false).at(0).text.find("reboot once"), std::string::npos);
  EXPECT_NE(pid_reasons(400, true).at(0).text.find("restart the unit"), std::string::npos);
}

}  // namespace
}  // namespace ks::upgrade
