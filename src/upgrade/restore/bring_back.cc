// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/restore/bring_back.h"

#include <fmt/core.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/engine.h"
#include "upgrade/checksum.h"
#include "upgrade/drop_in.h"
#include "upgrade/hold/client.h"
#include "upgrade/hold/tracking.h"
#include "upgrade/machine.h"
#include "upgrade/restore/cold_start.h"
#include "upgrade/restore/headroom.h"
#include "upgrade/restore/loaded_files.h"
#include "upgrade/restore/placeholder_control.h"
#include "upgrade/restore/supervised.h"
#include "upgrade/systemd/bus.h"

namespace ks::upgrade {

namespace {

constexpr char kImageManifest[] = "/manifest.ks";  // kernel-swap-image(5)
constexpr uint64_t kBarrierMicroseconds = 30'000'000;

Result<> require_image_of(const CarriedUnit& unit, const std::string& image) {
  if (checksum(TRY(read_file(image + kImageManifest))) != unit.image_digest)
    return fail("the image is not the one that the swap committed");
  return {};
}

// A unit with Delegate= has us in a group of our own, below. One whose slice has changed is elsewhere now: nothing.
std::string group_of(const CarriedUnit& unit) {
  std::string group = kCgroupRoot + unit.control_group;
  return ::access(group.c_str(), F_OK) ? "" : group;
}

// All that come back, with this unit or beside it.
std::vector<pid_t> awaited_ids(const Swap& swap) {
  std::vector<pid_t> ids;
  auto manifest = swap.manifest();
  if (!manifest) return ids;
  for (const CarriedUnit& unit : manifest->units) ids.insert(ids.end(), unit.ids.begin(), unit.ids.end());
  return ids;
}

Result<std::string> restore(const Swap& swap, const CarriedUnit& unit, pid_t placeholder,
                            const std::function<Result<>()>& commit, const std::function<void()>& lift) {
  auto engine = TRY(engine::Engine::open());
  auto report = engine.restore(swap.image(unit.name), {.into = placeholder,
                                                       .cgroup = group_of(unit),
                                                       .awaited = awaited_ids(swap),
                                                       .before_thaw = commit,
                                                       .lift = lift});
  if (!report) return std::unexpected(report.error());
  if (report->unreachable.empty()) return "";
  return fmt::format("no route to the peers of {} sockets then, the first {}", report->unreachable.size(),
                     report->unreachable.front());
}

// Only after systemd knows its new main process may the old one end. Of some units it knows none.
Result<> hand_over(const CarriedUnit& unit) {
  std::string state = "READY=1\nSTATUS=Restored by kernel-swap";
  if (unit.main_pid) state += fmt::format("\nMAINPID={}", unit.main_pid);
  if (int r = ::sd_notify(0, state.c_str()); r <= 0) return fail_errno("notify systemd", r ? -r : ENOTCONN);
  if (int r = ::sd_notify_barrier(0, kBarrierMicroseconds); r < 0) return fail_errno("notify systemd", -r);
  Bus bus = TRY(Bus::open());
  pid_t known = TRY(bus.unit(unit.name)).main_pid;
  if (known != unit.main_pid)
    return fail(fmt::format("systemd holds pid {} for the main process, not {}", known, unit.main_pid));
  return {};
}

}  // namespace

Result<> bring_back(const Swap& swap, const CarriedUnit& unit, pid_t placeholder) {
  auto attempt = [&]() -> Result<> {
    int attempts = swap.pending(unit.name).value_or(kAttempts);
    if (attempts >= kAttempts) return fail(fmt::format("{} attempts were cut short", attempts));
    TRY(require_image_of(unit, swap.image(unit.name)));
    TRY(swap.begin_attempt(unit.name));
    TRY(begin_to_load(swap, unit, placeholder));
    int64_t thawed_at = 0;
    std::string group = group_of(unit);
    ControlGroupHeadroom headroom(group.empty() ? kCgroupRoot + TRY(own_control_group()) : group);
    auto keeper = HoldClient::open();  // its path may not be there for who has joined the unit's namespaces
    auto tracking = Tracking::open();
    auto lift = [&] {
      auto tracked = tracking ? tracking->add(unit.held) : std::unexpected(tracking.error());
      if (!tracked) swap.note("tracking", unit.name, tracked.error().what);
      if (keeper) (void)keeper->lift(unit.name);
    };
    auto work = [&](const auto& commit) -> Result<std::string> {
      take_own_headroom();
      // Before the processes: what they have open by a name must be there.
      auto files = TRY(load_files(swap, unit, placeholder));
      for (const std::string& path : files.kept) swap.note("kept", unit.name, path + " was there already");
      for (const std::string& text : files.failed) swap.note("lost", unit.name, text);
      return restore(swap, unit, placeholder, commit, lift);
    };
    auto use_image = [&] {
      thawed_at = realtime_microseconds();
      return swap.take(unit.name);
    };
    std::string remark =
        TRY(run_supervised({.work = work, .commit = use_image, .limit_seconds = restore_limit_seconds(unit)}));
    TRY(hand_over(unit));
    double pause = static_cast<double>(thawed_at - unit.frozen_at) / 1e6;
    // From here on the unit lives; what cannot be written is only missing from the report.
    (void)swap.record(unit.name, {.fate = Fate::restored, .reason = remark, .pause_seconds = pause});
    swap.note(
        "restored", unit.name,
        fmt::format("main pid {}, pause {:.3f} s{}{}", unit.main_pid ? std::to_string(unit.main_pid) : "unknown",
                    pause, remark.empty() ? "" : "; ", remark));
    return {};
  };
  auto done = attempt();
  if (done) return tell_placeholder(placeholder, Word::dismissed);

  auto cleared = clear_control_group(placeholder);
  if (cleared)
    if (auto gone = take_back_loaded(swap, unit, placeholder); !gone)
      swap.note("left-there", unit.name, gone.error().what);
  auto withdrawn = swap.withdraw(unit.name);
  (void)swap.record(unit.name, {.fate = Fate::cold, .reason = done.error().what});
  swap.note("restore-failed", unit.name, done.error().what);
  if (!cleared) return cleared;
  if (!withdrawn) swap.note("withdraw-failed", unit.name, withdrawn.error().what);
  return done;
}

}  // namespace ks::upgrade
