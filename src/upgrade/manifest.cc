// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/manifest.h"

#include <fmt/core.h>

#include "base/text.h"
#include "upgrade/checksum.h"
#include "upgrade/json.h"

namespace ks::upgrade {

namespace {

constexpr std::string_view kChecksum = "# checksum ";

Json to_json(const CarriedUnit& unit) {
  Json processes = Json::array();
  for (const ProcessId& process : unit.processes) {
    Json entry = Json::object();
    entry.set("pid", process.pid).set("start", process.start);
    processes.add(std::move(entry));
  }
  Json places = Json::array();
  for (const SavedPlace& place : unit.places) {
    Json entry = Json::object();
    entry.set("path", place.path)
        .set("name", place.name)
        .set("digest", place.digest)
        .set("bytes", place.bytes)
        .set("of_systemd", place.of_systemd)
        .set("whole", place.whole);
    places.add(std::move(entry));
  }
  Json ids = Json::array();
  for (pid_t id : unit.ids) ids.add(id);
  Json command = Json::object();
  command.set("path", unit.command.path)
      .set("arguments", Json::array(unit.command.arguments))
      .set("flags", Json::array(unit.command.flags));
  Json json = Json::object();
  json.set("name", unit.name)
      .set("control_group", unit.control_group)
      .set("main_pid", unit.main_pid)
      .set("processes", std::move(processes))
      .set("ids", std::move(ids))
      .set("command", std::move(command))
      .set("type", unit.type)
      .set("notify_access", unit.notify_access)
      .set("syslog_identifier", unit.syslog_identifier)
      .set("start_timeout_seconds", unit.start_timeout_seconds)
      .set("has_more_at_start", unit.has_more_at_start)
      .set("placeholder_not_executable", unit.placeholder_not_executable)
      .set("places", std::move(places))
      .set("sockets", Json::array(unit.sockets))
      .set("remarks", Json::array(unit.remarks))
      .set("held", Json::array(unit.held))
      .set("image_digest", unit.image_digest)
      .set("memory_bytes", unit.memory_bytes)
      .set("frozen_seconds", unit.frozen_seconds)
      .set("frozen_at", unit.frozen_at);
  return json;
}

Result<Command> parse_command(const Json& json) {
  Command command;
  command.path = TRY(json.string("path"));
  command.arguments = TRY(json.strings("arguments"));
  command.flags = TRY(json.strings("flags"));
  return command;
}

Result<CarriedUnit> parse_unit(const Json& json) {
  CarriedUnit unit;
  unit.name = TRY(json.string("name"));
  unit.control_group = TRY(json.string("control_group"));
  unit.main_pid = static_cast<pid_t>(TRY(json.integer("main_pid")));
  TRY(json.objects("processes", [&](const Json& entry) -> Result<> {
    unit.processes.push_back(
        {static_cast<pid_t>(TRY(entry.integer("pid"))), static_cast<uint64_t>(TRY(entry.integer("start")))});
    return {};
  }));
  for (int64_t id : TRY(json.integers("ids"))) unit.ids.push_back(static_cast<pid_t>(id));
  unit.command = TRY(in("command", parse_command(TRY(json.object("command")))));
  unit.type = TRY(json.string("type"));
  unit.notify_access = TRY(json.string("notify_access"));
  unit.syslog_identifier = TRY(json.string("syslog_identifier"));
  unit.start_timeout_seconds = static_cast<uint64_t>(TRY(json.integer("start_timeout_seconds")));
  unit.has_more_at_start = TRY(json.boolean("has_more_at_start"));
  unit.placeholder_not_executable = TRY(json.boolean("placeholder_not_executable"));
  TRY(json.objects("places", [&](const Json& entry) -> Result<> {
    unit.places.push_back({TRY(entry.string("path")), TRY(entry.string("name")), TRY(entry.string("digest")),
                           static_cast<uint64_t>(TRY(entry.integer("bytes"))), TRY(entry.boolean("of_systemd")),
                           TRY(entry.boolean("whole"))});
    return {};
  }));
  unit.sockets = TRY(json.strings("sockets"));
  unit.remarks = TRY(json.strings("remarks"));
  unit.held = TRY(json.strings("held"));
  unit.image_digest = TRY(json.string("image_digest"));
  unit.memory_bytes = static_cast<uint64_t>(TRY(json.integer("memory_bytes")));
  unit.frozen_seconds = TRY(json.number("frozen_seconds"));
  unit.frozen_at = TRY(json.integer("frozen_at"));
  return unit;
}

}  // namespace

const CarriedUnit* Manifest::find(std::string_view unit) const {
  for (const CarriedUnit& carried : units)
    if (carried.name == unit) return &carried;
  return nullptr;
}

std::string to_text(const Manifest& manifest) {
  Json units = Json::array();
  for (const CarriedUnit& unit : manifest.units) units.add(to_json(unit));
  Json left_out = Json::array();
  for (const LeftOutUnit& unit : manifest.left_out) {
    Json entry = Json::object();
    entry.set("name", unit.name).set("reasons", Json::array(unit.reasons));
    left_out.add(std::move(entry));
  }
  Json json = Json::object();
  json.set("format", kManifestFormat)
      .set("id", manifest.id)
      .set("boot_id", manifest.boot_id)
      .set("kernel", manifest.kernel)
      .set("created", manifest.created)
      .set("units", std::move(units))
      .set("left_out", std::move(left_out));
  std::string text = json.text();
  return text + std::string(kChecksum) + checksum(text) + "\n";
}

Result<Manifest> parse_manifest(std::string_view text) {
  size_t last = text.rfind(kChecksum);
  if (last == std::string_view::npos) return fail("no checksum: cut short");
  std::string_view body = text.substr(0, last);
  if (trim(text.substr(last + kChecksum.size())) != checksum(body)) return fail("damaged: checksum differs");

  Json json = TRY(Json::parse(body));
  if (int64_t format = TRY(json.integer("format")); format != kManifestFormat)
    return fail(fmt::format("format {}; this program knows {}", format, kManifestFormat));
  Manifest manifest;
  manifest.id = TRY(json.string("id"));
  manifest.boot_id = TRY(json.string("boot_id"));
  manifest.kernel = TRY(json.string("kernel"));
  manifest.created = TRY(json.integer("created"));
  TRY(json.objects("units", [&](const Json& entry) -> Result<> {
    manifest.units.push_back(TRY(parse_unit(entry)));
    return {};
  }));
  TRY(json.objects("left_out", [&](const Json& entry) -> Result<> {
    manifest.left_out.push_back({TRY(entry.string("name")), TRY(entry.strings("reasons"))});
    return {};
  }));
  return manifest;
}

}  // namespace ks::upgrade
