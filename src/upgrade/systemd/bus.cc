// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/systemd/bus.h"

#include <systemd/sd-bus.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <utility>

#include "upgrade/systemd/message.h"

namespace ks::upgrade {

namespace {

constexpr char kName[] = "org.freedesktop.systemd1";
constexpr char kManagerPath[] = "/org/freedesktop/systemd1";
constexpr char kManager[] = "org.freedesktop.systemd1.Manager";
constexpr char kUnit[] = "org.freedesktop.systemd1.Unit";
constexpr char kService[] = "org.freedesktop.systemd1.Service";
constexpr char kAddress[] = "unix:path=/run/systemd/private";
constexpr uint64_t kReloadTimeout = 180 * 1000000ull;  // as systemctl has it: generators of others run in it

}  // namespace

Result<Bus> Bus::open() {
  sd_bus* bus = nullptr;
  if (int r = sd_bus_new(&bus); r < 0) return fail_errno("systemd", -r);
  Bus self(bus);
  int r = sd_bus_set_address(bus, kAddress);
  if (r >= 0) r = sd_bus_start(bus);
  if (r < 0) return fail_errno("systemd: /run/systemd/private", -r);
  return self;
}

Bus::Bus(Bus&& other) noexcept : bus_(std::exchange(other.bus_, nullptr)) {}
Bus& Bus::operator=(Bus&& other) noexcept {
  std::swap(bus_, other.bus_);
  return *this;
}
Bus::~Bus() { sd_bus_flush_close_unref(bus_); }

Result<std::vector<Job>> Bus::jobs() const {
  Call call(bus_, kManagerPath, kManager, "ListJobs");
  Message reply = TRY(call.send());
  std::vector<Job> jobs;
  TRY(reply.array("(usssoo)", [&](Message& item) -> Result<> {
    uint32_t id = 0;
    const char *unit = "", *type = "", *state = "", *job_path = "", *unit_path = "";
    TRY(item.read("(usssoo)", &id, &unit, &type, &state, &job_path, &unit_path));
    jobs.push_back({unit, type, state});
    return {};
  }));
  return jobs;
}

Result<std::vector<std::string>> Bus::units_like(const std::string& pattern) const {
  Call call(bus_, kManagerPath, kManager, "ListUnitsByPatterns");
  TRY(call.append("as", 0));
  TRY(call.append("as", 1, pattern.c_str()));
  Message reply = TRY(call.send());
  std::vector<std::string> names;
  TRY(reply.array("(ssssssouso)", [&](Message& item) -> Result<> {
    const char *name = "", *skip = "";
    uint32_t job = 0;
    TRY(item.read("(ssssssouso)", &name, &skip, &skip, &skip, &skip, &skip, &skip, &job, &skip, &skip));
    names.emplace_back(name);
    return {};
  }));
  return names;
}

Result<std::vector<ServiceClaim>> Bus::claims() const {
  Call call(bus_, kManagerPath, kManager, "ListUnitsByPatterns");
  TRY(call.append("as", 0));
  TRY(call.append("as", 1, "*.service"));
  Message reply = TRY(call.send());
  std::vector<std::pair<std::string, std::string>> services;  // with their paths
  TRY(reply.array("(ssssssouso)", [&](Message& item) -> Result<> {
    const char *name = "", *loaded = "", *path = "", *skip = "";
    uint32_t job = 0;
    TRY(item.read("(ssssssouso)", &name, &skip, &loaded, &skip, &skip, &skip, &path, &job, &skip, &skip));
    if (std::string_view(loaded) == "loaded") services.emplace_back(name, path);
    return {};
  }));
  std::vector<ServiceClaim> claims;
  for (const auto& [name, path] : services) {
    Properties service(bus_, kName, path, kService);
    claims.push_back({.unit = name,
                      .user = TRY(in(name, service.string("User"))),
                      .pid_file = TRY(in(name, service.string("PIDFile"))),
                      .runtime_directories = TRY(in(name, service.strings("RuntimeDirectory")))});
  }
  return claims;
}

Result<UnitState> Bus::unit(std::string_view name) const {
  std::string wanted(name);
  auto read = [&]() -> Result<UnitState> {
    Call load(bus_, kManagerPath, kManager, "LoadUnit");
    TRY(load.append("s", wanted.c_str()));
    Message reply = TRY(load.send());
    const char* path = "";
    TRY(reply.read("o", &path));

    UnitState state;
    Properties unit(bus_, kName, path, kUnit);
    state.name = TRY(unit.string("Id"));
    state.load_state = TRY(unit.string("LoadState"));
    state.active_state = TRY(unit.string("ActiveState"));
    state.sub_state = TRY(unit.string("SubState"));
    state.fragment = TRY(unit.string("FragmentPath"));
    state.drop_ins = TRY(unit.strings("DropInPaths"));
    state.on_failure = TRY(unit.strings("OnFailure"));
    for (std::string& other : TRY(unit.strings("TriggeredBy")))
      if (other.ends_with(".socket")) state.sockets.push_back(std::move(other));
    auto conflicts = TRY(unit.strings("Conflicts"));
    state.stops_at_shutdown = std::ranges::count(conflicts, "shutdown.target") > 0;
    if (state.load_state != "loaded") return state;

    Properties service(bus_, kName, path, kService);
    state.type = TRY(service.string("Type"));
    state.pid_file = TRY(service.string("PIDFile"));
    state.notify_access = TRY(service.string("NotifyAccess"));
    state.syslog_identifier = TRY(service.string("SyslogIdentifier"));
    state.control_group = TRY(service.string("ControlGroup"));
    state.main_pid = static_cast<pid_t>(TRY(service.number<uint32_t>("MainPID")));
    state.control_pid = static_cast<pid_t>(TRY(service.number<uint32_t>("ControlPID")));
    state.start = TRY(service.commands("ExecStartEx"));
    for (const char* other : {"ExecConditionEx", "ExecStartPreEx", "ExecStartPostEx"})
      state.has_more_at_start |= !TRY(service.commands(other)).empty();
    for (const char* conditions : {"Conditions", "Asserts"})
      state.has_more_at_start |= TRY(unit.has_any(conditions, "(sbbsi)"));
    state.has_more_at_start |= TRY(service.has_profile());
    for (const char* other : {"ExecStopEx", "ExecStopPostEx"})
      state.has_stop_commands |= !TRY(service.commands(other)).empty();
    uint64_t watchdog = TRY(service.number<uint64_t>("WatchdogUSec"));
    state.has_watchdog = watchdog > 0 && watchdog != UINT64_MAX;
    uint64_t timeout = TRY(service.number<uint64_t>("TimeoutStartUSec"));
    state.start_timeout_seconds = timeout == UINT64_MAX ? 0 : (timeout + 999999) / 1000000;
    state.syslog_priority = TRY(service.number<int32_t>("SyslogPriority"));
    state.syslog_level_prefix = TRY(service.boolean("SyslogLevelPrefix"));
    state.dynamic_user = TRY(service.boolean("DynamicUser"));
    state.root_directory = TRY(service.string("RootDirectory"));
    state.root_image = TRY(service.string("RootImage"));
    state.runtime_directories = TRY(service.strings("RuntimeDirectory"));
    state.private_tmp = TRY(service.boolean("PrivateTmp"));
    state.stored_descriptors = TRY(service.number<uint32_t>("NFileDescriptorStore"));
    return state;
  };
  return in(wanted, read());
}

Result<> Bus::reload() const {
  Call call(bus_, kManagerPath, kManager, "Reload");
  auto reply = call.send(kReloadTimeout);
  if (!reply) return std::unexpected(reply.error());
  return {};
}

Result<> Bus::job(const char* method, const std::string& unit) const {
  Call call(bus_, kManagerPath, kManager, method);
  TRY(call.append("ss", unit.c_str(), "replace"));
  auto reply = in(unit, call.send());
  if (!reply) return std::unexpected(reply.error());
  return {};
}

Result<> Bus::start(const std::string& unit) const { return job("StartUnit", unit); }
Result<> Bus::stop(const std::string& unit) const { return job("StopUnit", unit); }
Result<> Bus::restart(const std::string& unit) const { return job("RestartUnit", unit); }

}  // namespace ks::upgrade
