// SPDX-License-Identifier: LGPL-2.1-or-later
// checkpoint, restore, inspect: images made and used by hand, outside of any swap
#include <fmt/chrono.h>
#include <fmt/core.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <optional>

#include "base/backoff.h"
#include "base/file.h"
#include "engine/engine.h"
#include "upgrade/candidate.h"
#include "upgrade/cli/verbs.h"
#include "upgrade/json.h"
#include "upgrade/readiness.h"
#include "upgrade/unit_name.h"
#include "upgrade/volatile.h"

namespace ks::upgrade {

namespace {

Json to_json(const std::vector<pid_t>& pids) {
  Json list = Json::array();
  for (pid_t pid : pids) list.add(pid);
  return list;
}

Json to_json(const engine::ImageSummary& image) {
  Json processes = Json::array(), mapped_files = Json::array(), files = Json::array(), open_files = Json::array();
  for (const auto& process : image.processes) {
    Json entry = Json::object();
    entry.set("pid", process.pid)
        .set("ppid", process.ppid)
        .set("pgid", process.pgid)
        .set("sid", process.sid)
        .set("comm", process.comm)
        .set("executable", process.executable)
        .set("threads", process.threads)
        .set("areas", process.areas)
        .set("descriptors", process.descriptors)
        .set("memory_bytes", process.memory_bytes);
    processes.add(std::move(entry));
  }
  for (const auto& file : image.mapped_files) {
    Json entry = Json::object();
    entry.set("path", file.path).set("bytes", file.bytes).set("build_id", file.build_id);
    mapped_files.add(std::move(entry));
  }
  for (const auto& kind : image.open_files) {
    Json entry = Json::object();
    entry.set("kind", kind.kind).set("version", kind.version).set("count", kind.count);
    open_files.add(std::move(entry));
  }
  for (const auto& file : image.files) {
    Json entry = Json::object();
    entry.set("name", file.name).set("bytes", file.bytes).set("digest", file.digest);
    files.add(std::move(entry));
  }
  Json json = Json::object();
  json.set("format", image.format)
      .set("architecture", image.architecture)
      .set("kernel", image.kernel)
      .set("unit", image.unit)
      .set("created", image.created)
      .set("processes", std::move(processes))
      .set("mapped_files", std::move(mapped_files))
      .set("open_files", std::move(open_files))
      .set("files", std::move(files));
  return json;
}

void print(const engine::ImageSummary& image) {
  fmt::print("format {}, {}, kernel {}, of {:%Y-%m-%d %H:%M:%S}{}{}\n", image.format, image.architecture,
             image.kernel, fmt::localtime(static_cast<time_t>(image.created)), image.unit.empty() ? "" : ", unit ",
             image.unit);
  for (const auto& process : image.processes)
    fmt::print("pid {} ({}) parent {} group {} session {}: {}, {} threads, {} areas, {} descriptors, {} bytes\n",
               process.pid, process.comm, process.ppid, process.pgid, process.sid, process.executable,
               process.threads, process.areas, process.descriptors, process.memory_bytes);
  for (const auto& file : image.mapped_files)
    fmt::print("mapped {}: {} bytes, {}\n", file.path, file.bytes,
               file.build_id.empty() ? "no build id" : "build id " + file.build_id);
  for (const auto& kind : image.open_files) fmt::print("open {}: {}\n", kind.kind, kind.count);
  for (const auto& file : image.files) fmt::print("file {}: {} bytes, {}\n", file.name, file.bytes, file.digest);
}

// A running unit, or the process tree.
Result<Candidate> running_unit(const std::string& word) {
  std::string name = TRY(parse_service_name(word));
  Bus bus = TRY(Bus::open());
  Candidate one = TRY(candidate(bus, name));
  if (std::string why = unmarkable(one.unit); !why.empty()) return fail(name + ": " + why);
  if (!is_running(one.unit)) return fail(name + ": not running");
  return one;
}

Result<> stop(const std::string& unit) { return TRY(Bus::open()).stop(unit); }

// An image that cannot be opened has named itself already.
template <class T>
Result<T> of_image(const std::string& directory, Result<T> result) {
  if (!result && result.error().what.starts_with(directory + ": ")) return result;
  return in(directory, std::move(result));
}

}  // namespace

Result<int> run(const Checkpoint& checkpoint) {
  std::string who = checkpoint.unit.empty() ? fmt::format("pid {}", checkpoint.pid) : checkpoint.unit;
  // What the engine says of processes begins with their PID already.
  auto about = [&](auto result) { return checkpoint.unit.empty() ? std::move(result) : in(who, std::move(result)); };
  engine::Target target{.cgroup = "", .root = checkpoint.pid};
  engine::DumpOptions options;
  std::vector<engine::Reason> losses;
  UnitState unit;
  if (!checkpoint.unit.empty()) {
    Candidate one = TRY(running_unit(checkpoint.unit));
    unit = one.unit;
    who = unit.name;
    target = target_of(unit);
    losses = loss_reasons(unit);
    options = dump_options(one);
    options.foreign_namespaces = false;  // `restore` has none to put the processes into
    options.refilled.clear();            // nor does it fill any directory
  }
  options.leave_running = checkpoint.leave_running;
  if (!losses.empty() && !checkpoint.leave_running) {
    for (const engine::Reason& reason : losses) fmt::print(stderr, "{}\n", reason_line(who, reason));
    return kRefused;
  }

  auto engine = TRY(engine::Engine::open());
  RunSurvey survey = TRY(survey_run());
  std::optional<engine::Frozen> frozen;
  auto dump = [&]() -> Result<engine::DumpReport> {
    frozen.emplace(TRY(engine.freeze(target)));
    return frozen->dump(checkpoint.directory, options);
  };
  auto may_succeed_later = [&](const Error& error) {
    return may_pass(error) || (frozen && engine::are_for_now(frozen->verdict().reasons));
  };
  Backoff patience(Backoff::Clock::now() + kPatience, kShortestPause, kLongestPause);
  auto report = dump();
  while (!report && may_succeed_later(report.error()) && !patience.is_over()) {
    frozen.reset();
    patience.pause();
    report = dump();
  }
  if (!report && frozen && !frozen->verdict().ready()) {
    for (const engine::Reason& reason : frozen->verdict().reasons)
      fmt::print(stderr, "{}\n", checkpoint.unit.empty() ? to_string(reason) : reason_line(who, reason));
    return kRefused;
  }
  if (!report) return about(Result<int>(std::unexpected(report.error())));
  auto remarks = frozen->verdict().remarks;
  for (engine::Reason& remark : left_below_run(survey, unit, report->pids)) remarks.push_back(std::move(remark));
  for (const engine::Reason& remark : remarks) fmt::print(stderr, "{}\n", reason_line(who, remark));
  if (!checkpoint.leave_running) {
    // With its stop job pending, systemd does not start the unit again when its processes are gone.
    if (auto stopping = checkpoint.unit.empty() ? Result<>{} : stop(who); !stopping) {
      (void)remove_tree(checkpoint.directory);  // the unit runs on, and must not be brought back beside itself
      return std::unexpected(stopping.error());
    }
    TRY(about(frozen->kill()));
  }
  if (checkpoint.json) {
    Json json = Json::object();
    json.set("directory", checkpoint.directory)
        .set("pids", to_json(report->pids))
        .set("threads", report->threads)
        .set("memory_bytes", report->memory_bytes)
        .set("frozen_seconds", report->frozen_seconds);
    fmt::print("{}", json.text());
  } else {
    fmt::print("{}: {} processes, {} threads, {} bytes of memory in {:.3f} s\n", who, report->pids.size(),
               report->threads, report->memory_bytes, report->frozen_seconds);
  }
  return kDone;
}

Result<int> run(const Restore& restore) {
  auto engine = TRY(engine::Engine::open());
  auto report = TRY(of_image(restore.directory, engine.restore(restore.directory, {})));
  if (!restore.pidfile.empty() && !report.roots.empty())
    TRY(in(
        "the processes run, but their PID could not be written",
        replace_file(std::filesystem::absolute(restore.pidfile), fmt::format("{}\n", report.roots.front()), 0644)));
  if (restore.json) {
    Json json = Json::object();
    json.set("pids", to_json(report.pids))
        .set("roots", to_json(report.roots))
        .set("memory_bytes", report.memory_bytes);
    fmt::print("{}", json.text());
  } else {
    for (pid_t root : report.roots) fmt::print("{}\n", root);
  }
  return kDone;
}

Result<int> run(const Inspect& inspect) {
  auto image = TRY(of_image(inspect.directory, engine::Engine::inspect(inspect.directory)));
  if (inspect.json)
    fmt::print("{}", to_json(image).text());
  else
    print(image);
  return kDone;
}

}  // namespace ks::upgrade
