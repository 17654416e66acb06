// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/shutdown/passenger.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/file.h"
#include "upgrade/checksum.h"
#include "upgrade/config.h"
#include "upgrade/hold/held_socket.h"
#include "upgrade/machine.h"
#include "upgrade/readiness.h"
#include "upgrade/volatile.h"

namespace ks::upgrade {

namespace {

constexpr char kImageManifest[] = "/manifest.ks";  // kernel-swap-image(5)

std::vector<std::string> lines(const std::vector<engine::Reason>& reasons) {
  std::vector<std::string> lines;
  lines.reserve(reasons.size());
  for (const engine::Reason& reason : reasons) lines.push_back(engine::to_string(reason));
  return lines;
}

std::unexpected<Obstacles> because(const std::vector<engine::Reason>& reasons) {
  return std::unexpected(Obstacles{lines(reasons), engine::are_for_now(reasons)});
}

std::unexpected<Obstacles> because(std::string text) { return std::unexpected(Obstacles{{std::move(text)}}); }

}  // namespace

std::expected<Passenger, Obstacles> Passenger::freeze(const engine::Engine& engine, const Candidate& candidate,
                                                      const engine::NextKernel& next) {
  const UnitState& unit = candidate.unit;
  if (auto reasons = unit_reasons(unit); !reasons.empty()) return because(reasons);
  auto options = swap_options(candidate, next);  // not while it is frozen
  int64_t now = realtime_microseconds();
  auto frozen = engine.freeze(target_of(unit));
  if (!frozen) return because({failure("freeze", frozen.error())});
  if (auto reasons = group_reasons(candidate); !reasons.empty()) return because(reasons);
  return Passenger(candidate, std::move(options), std::move(*frozen), now);
}

std::expected<CarriedUnit, Obstacles> Passenger::dump(const std::string& image, const std::string& places,
                                                      const HoldUnit& hold) {
  std::vector<std::string> held;
  if (options_.hold)
    options_.hold = [&](std::span<const engine::NetworkSocket> sockets) -> Result<> {
      held = TRY(to_lines(sockets));
      return hold(unit_.name, held);
    };
  auto report = frozen_.dump(image, options_);
  const engine::Verdict& verdict = frozen_.verdict();
  if (!report && verdict.ready()) return because({failure("dump", report.error())});
  if (!report) return because(verdict.reasons);
  auto reasons = remembered_reasons(*report);
  auto carried = reasons.empty() ? describe(*report, image) : because(reasons);
  if (carried) {
    carried->held = std::move(held);
    carried->remarks = lines(verdict.remarks);
    for (std::string& remark : lines(run_remarks_)) carried->remarks.push_back(std::move(remark));
    auto saved = save_places(places_, process_of(unit_), places);
    if (saved)
      carried->places = std::move(*saved);
    else
      carried = because("its files below /run or in a private /tmp: " + saved.error().what);
  }
  if (carried) return carried;
  (void)remove_tree(image);
  (void)remove_tree(places);
  return carried;
}

std::expected<CarriedUnit, Obstacles> Passenger::describe(const engine::DumpReport& report,
                                                          const std::string& directory) const {
  if (unit_.main_pid && !std::ranges::count(report.pids, unit_.main_pid))
    return because(fmt::format("its main process, {}, is none of its processes", unit_.main_pid));
  auto executable = placeholder_is_executable(unit_);
  if (!executable) return because(executable.error().what);
  auto image_manifest = read_file(directory + kImageManifest);
  if (!image_manifest) return because(image_manifest.error().what);

  CarriedUnit carried{.name = unit_.name,
                      .control_group = unit_.control_group,
                      .main_pid = unit_.main_pid,
                      .command = unit_.start.front(),
                      .type = unit_.type,
                      .notify_access = unit_.notify_access,
                      .syslog_identifier = syslog_identifier(unit_),
                      .start_timeout_seconds = unit_.start_timeout_seconds,
                      .has_more_at_start = unit_.has_more_at_start,
                      .placeholder_not_executable = !*executable,
                      .sockets = unit_.sockets,
                      .image_digest = checksum(*image_manifest),
                      .memory_bytes = report.memory_bytes,
                      .frozen_seconds = report.frozen_seconds,
                      .frozen_at = frozen_at_};
  carried.ids = report.remembered;
  for (pid_t pid : report.pids) {
    auto start = start_of(pid);
    if (start) carried.processes.push_back({pid, *start});  // a zombie ends with its parent
    auto ids = ids_of(pid);
    carried.ids.insert(carried.ids.end(), ids.begin(), ids.end());
  }
  return carried;
}

}  // namespace ks::upgrade
