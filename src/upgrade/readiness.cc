// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/readiness.h"

#include <fmt/core.h>

#include "upgrade/machine.h"
#include "upgrade/pid_base.h"

namespace ks::upgrade {

bool is_running(const UnitState& unit) {
  return unit.load_state == "loaded" && unit.active_state == "active" && unit.sub_state == "running";
}

pid_t process_of(const UnitState& unit) {
  return unit.main_pid ? unit.main_pid : topmost_process(unit.control_group);
}

std::string unmarkable(const UnitState& unit) {
  if (unit.load_state == "not-found") return "no such unit";
  if (unit.load_state == "masked") return "masked; systemctl unmask it first";
  if (unit.load_state != "loaded") return fmt::format("systemd cannot load it ({})", unit.load_state);
  if (unit.type == "oneshot") return "Type=oneshot: it has no process that stays";
  return {};
}

std::vector<engine::Reason> unit_reasons(const UnitState& unit) {
  std::vector<engine::Reason> reasons;
  auto add = [&](const char* object, std::string text) { reasons.push_back({0, object, std::move(text)}); };
  if (std::string text = unmarkable(unit); !text.empty()) {
    add("unit", text);
    return reasons;
  }
  if (!is_running(unit)) {
    std::string text = fmt::format("is not running but {} ({})", unit.active_state, unit.sub_state);
    add("unit", unit.active_state == "reloading" ? for_now(std::move(text)) : std::move(text));
    return reasons;
  }
  if (unit.control_pid != 0) add("control process", for_now("a command of the unit runs"));
  if (unit.start.empty())
    add("ExecStart=", "the unit has none that could be started again");
  else if (auto line = placeholder_command_line(unit.start.front(), "placeholder"); !line)
    add("ExecStart=", line.error().what);
  if (unit.type == "dbus")
    add("Type=dbus",
        "its name on the message bus is lost with the connection, and systemd then ends it; not supported yet");
  if (!unit.stops_at_shutdown)
    add("DefaultDependencies=",
        "not stopped at shutdown, so that systemd could start it anew behind our back; add "
        "Conflicts=shutdown.target");
  if (unit.dynamic_user) add("DynamicUser=", "not supported yet: the user may have another number after the boot");
  if (!unit.root_directory.empty()) add("RootDirectory=", "not supported yet");
  if (!unit.root_image.empty()) add("RootImage=", "not supported yet");
  if (unit.stored_descriptors > 0)
    add("FileDescriptorStoreMax=",
        fmt::format("systemd keeps {} descriptors for it, which would be lost", unit.stored_descriptors));
  return reasons;
}

std::vector<engine::Reason> pid_reasons(pid_t lowest, bool floor_raised) {
  if (lowest >= kPidFloor) return {};
  return {{lowest, "PID",
           fmt::format("below {}, where the next kernel's own threads will be; {}, so that its PIDs lie above",
                       kPidFloor, floor_raised ? "restart the unit" : "reboot once")}};
}

}  // namespace ks::upgrade
