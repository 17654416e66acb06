// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/finish/settle.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/file.h"
#include "upgrade/hold/client.h"
#include "upgrade/machine.h"
#include "upgrade/restore/loaded_files.h"

namespace ks::upgrade {

namespace {

// Whether the unit is what the swap left behind: alive, and systemd knows it.
Result<> verify(const UnitState& unit, const CarriedUnit& carried) {
  if (unit.active_state != "active") return fail("it has ended since: " + unit.active_state);
  if (unit.main_pid != carried.main_pid) return fail("it has been started again since");
  auto pids = TRY(cgroup_processes(unit.control_group));
  auto has = [&](const ProcessId& process) { return std::ranges::count(pids, process.pid) > 0; };
  if (carried.main_pid && !std::ranges::count(pids, carried.main_pid))
    return fail("its main process is not in its control group");
  if (std::ranges::none_of(carried.processes, has)) return fail("none of its processes is in its control group");
  return {};
}

// Fills in what the restorer could not say, and takes back what must not be used any more.
Result<> judge(const Bus& bus, const Swap& swap, const CarriedUnit& carried) {
  auto attempts = swap.pending(carried.name);
  TRY(swap.withdraw(carried.name));
  auto outcome = swap.outcome(carried.name);
  UnitState unit = TRY(bus.unit(carried.name));
  if (outcome && outcome->fate == Fate::restored) {
    if (auto good = verify(unit, carried); !good) {
      outcome->fate = Fate::failed;
      outcome->reason = "restored, but " + good.error().what;
      TRY(swap.record(carried.name, *outcome));
    }
  } else if (!outcome) {
    std::string reason = !attempts        ? "its restore was cut short"
                         : *attempts == 0 ? "no restore was tried in this boot"
                                          : fmt::format("its restore was cut short {} times", *attempts);
    outcome = {.fate = Fate::cold, .reason = std::move(reason)};
    TRY(swap.record(carried.name, *outcome));
  }
  std::string reason = outcome->reason.empty() ? "" : ": " + outcome->reason;
  swap.note("verdict", carried.name, std::string(to_string(outcome->fate)) + reason);
  return {};
}

// What ran before the swap is to run after it. A unit that our start took down starts now as its file says.
Result<> start_what_is_down(const Bus& bus, const Swap& swap, const CarriedUnit& carried) {
  UnitState unit = TRY(bus.unit(carried.name));
  if (unit.active_state != "failed" && unit.active_state != "inactive") return {};
  auto outcome = swap.outcome(carried.name);
  if (outcome && outcome->pause_seconds > 0) return {};  // it came back, and ended by itself
  swap.note("start", carried.name, "was " + unit.active_state);
  return bus.start(carried.name);
}

Result<> settle_damaged(const Swap& swap, const std::string& reason) {
  swap.note("finish", "", reason);
  end_hold();
  for (const std::string& unit : TRY(list_directory(swap.directory() + "/pending"))) {
    TRY(swap.record(unit, {.fate = Fate::cold, .reason = reason}));
    TRY(swap.withdraw(unit));
  }
  return swap.close();
}

Result<> settle_open(const Swap& swap, const Manifest& manifest) {
  Bus bus = TRY(Bus::open());
  for (const CarriedUnit& unit : manifest.units)
    if (auto judged = judge(bus, swap, unit); !judged) swap.note("finish", unit.name, judged.error().what);
  end_hold();
  TRY(swap.close());
  // With the swap closed our generator makes no drop-in, and the units are again what their files say.
  TRY(bus.reload());
  TRY(remove_tree(kRestoring));
  for (const CarriedUnit& unit : manifest.units) {
    // Only now: a restorer may be killed as the last thing that it does, and then the unit is down. One that came
    // back and has ended since is as after any end.
    auto outcome = swap.outcome(unit.name);
    if (outcome && outcome->fate != Fate::cold)
      keep_loaded(unit);
    else if (auto gone = take_back_loaded(swap, unit, 0); !gone)
      swap.note("left-there", unit.name, gone.error().what);
    if (auto started = start_what_is_down(bus, swap, unit); !started)
      swap.note("finish", unit.name, started.error().what);
    if (outcome && outcome->fate == Fate::restored) TRY(swap.remove_image(unit.name));
  }
  return {};
}

}  // namespace

Result<> settle(const SwapStore& store) {
  auto newest = store.newest();
  for (const Swap& swap : store.swaps()) {
    bool last = newest && swap.id() == newest->id();
    if (!last) {
      TRY(swap.remove());  // never committed, or long settled
      continue;
    }
    if (!swap.is_open()) continue;
    auto manifest = swap.manifest();
    if (!manifest)
      TRY(settle_damaged(swap, manifest.error().what));
    else if (manifest->boot_id != boot_id())
      TRY(settle_open(swap, *manifest));
  }
  return {};
}

}  // namespace ks::upgrade
