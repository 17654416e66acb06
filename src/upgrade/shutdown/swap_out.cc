// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/shutdown/swap_out.h"

#include <fmt/core.h>
#include <time.h>

#include <algorithm>
#include <optional>
#include <set>

#include "base/file.h"
#include "upgrade/checksum.h"
#include "upgrade/hold/client.h"
#include "upgrade/hold/held_socket.h"
#include "upgrade/machine.h"
#include "upgrade/readiness.h"
#include "upgrade/shutdown/passenger.h"
#include "upgrade/shutdown/quiet.h"
#include "upgrade/store_check.h"
#include "upgrade/volatile.h"

namespace ks::upgrade {

namespace {

void leave_out(Manifest& manifest, const Swap& swap, const std::string& unit, std::vector<std::string> reasons) {
  for (const std::string& reason : reasons) swap.note("left-out", unit, reason);
  manifest.left_out.push_back({unit, std::move(reasons)});
}

// An earlier image would bring back an old state, now that its unit has run on.
void withdraw_earlier(const SwapStore& store) {
  for (const Swap& swap : store.swaps()) {
    auto manifest = swap.manifest();
    if (!manifest) {
      (void)swap.remove();
      continue;
    }
    for (const CarriedUnit& unit : manifest->units)
      if (swap.pending(unit.name)) (void)swap.withdraw(unit.name);
  }
}

Result<engine::Engine> usable_engine(const SwapStore& store) {
  TRY(require_root_file_system(store.root()));
  return engine::Engine::open();
}

// The hold of a swap. What is held is lifted at our end, unless it is to be kept.
class Hold {
 public:
  explicit Hold(const Bus& bus) : bus_(bus) {}

  Result<> hold(const std::string& unit, std::span<const std::string> lines) {
    if (!keeper_) {
      TRY(bus_.start(kHoldUnit));
      keeper_.emplace(TRY(HoldClient::await()));
    }
    return keeper_->hold(unit, lines);
  }
  void lift(const std::string& unit) {
    if (keeper_) (void)keeper_->lift(unit);
  }
  Result<> keep() { return keeper_ ? keeper_->keep() : Result<>(); }

 private:
  const Bus& bus_;
  std::optional<HoldClient> keeper_;
};

// Who connects from now on is not answered, and tries again later; who has connected is accepted by the services,
// which still run: nobody can make a connection anew that has not been accepted. What they do not accept in time,
// their dump refuses. The same for datagrams.
void drain_queues(const engine::Engine& engine, const std::vector<Candidate>& units, const Swap& swap, Hold& hold) {
  constexpr timespec kPoll{.tv_sec = 0, .tv_nsec = 5'000'000};
  constexpr int kPolls = 400;
  std::vector<const UnitState*> waiting;
  for (const Candidate& one : units) {
    auto found = unit_reasons(one.unit).empty() ? engine.waiting(target_of(one.unit)) : fail("cannot be carried");
    if (!found || found->sockets.empty()) continue;
    auto lines = to_lines(found->sockets);
    auto held = lines ? hold.hold(one.unit.name, *lines) : std::unexpected(lines.error());
    if (!held) swap.note("hold", one.unit.name, held.error().what);
    if (held) waiting.push_back(&one.unit);
  }
  for (int i = 0; i < kPolls && !waiting.empty(); ++i) {
    std::erase_if(waiting, [&](const UnitState* unit) { return has_read_all(engine, *unit); });
    if (!waiting.empty()) ::nanosleep(&kPoll, nullptr);
  }
}

// All are frozen before the first is dumped, so that what they say to each other is not torn apart.
std::vector<Passenger> freeze_all(const engine::Engine& engine, const std::vector<Candidate>& units,
                                  const engine::NextKernel& next, const Swap& swap, Manifest& manifest, Hold& hold) {
  std::vector<Passenger> passengers;
  for (const Candidate& one : units) {
    auto passenger = Passenger::freeze(engine, one, next);
    if (passenger) {
      swap.note("frozen", one.unit.name, "");
      passengers.push_back(std::move(*passenger));
    } else {
      hold.lift(one.unit.name);
      leave_out(manifest, swap, one.unit.name, std::move(passenger.error()));
    }
  }
  return passengers;
}

void dump_all(std::vector<Passenger>& passengers, const Swap& swap, Manifest& manifest, Hold& hold) {
  HoldUnit hold_unit = [&](const std::string& unit, std::span<const std::string> lines) {
    return hold.hold(unit, lines);
  };
  std::erase_if(passengers, [&](Passenger& passenger) {
    auto dumped = passenger.dump(swap.image(passenger.name()), swap.places(passenger.name()), hold_unit);
    if (!dumped) {
      hold.lift(passenger.name());
      leave_out(manifest, swap, passenger.name(), std::move(dumped.error()));
      return true;  // which thaws it
    }
    swap.note("dumped", passenger.name(),
              fmt::format("{} bytes in {:.3f} s", dumped->memory_bytes, dumped->frozen_seconds));
    for (const std::string& remark : dumped->remarks) swap.note("remark", passenger.name(), remark);
    manifest.units.push_back(std::move(*dumped));
    return false;
  });
}

Result<> commit(const Swap& swap, const Manifest& manifest) {
  auto has_places = [](const CarriedUnit& unit) { return !unit.places.empty(); };
  if (std::ranges::any_of(manifest.units, has_places)) TRY(sync_saved(swap.directory()));
  TRY(swap.commit(manifest));
  swap.note("commit", "", fmt::format("{} carried, {} left out", manifest.units.size(), manifest.left_out.size()));
  return {};
}

void kill_dumped(const Swap& swap, std::vector<Passenger>& passengers, Hold& hold) {
  for (Passenger& passenger : passengers) {
    auto killed = passenger.kill();
    if (killed) {
      swap.note("killed", passenger.name(), "");
      continue;
    }
    // It may live on, so it must not come back a second time.
    auto withdrawn = swap.withdraw(passenger.name());
    hold.lift(passenger.name());
    swap.note("kill-failed", passenger.name(), killed.error().what);
    if (!withdrawn) swap.note("withdraw-failed", passenger.name(), withdrawn.error().what);
  }
}

}  // namespace

Result<> swap_out(const Bus& bus, const SwapStore& store, const engine::NextKernel& next) {
  withdraw_earlier(store);
  MarkedUnits marked = TRY(marked_units(bus));
  std::erase_if(marked.units, [](const Candidate& one) {
    return one.unit.active_state == "inactive" || one.unit.active_state == "failed";
  });
  if (marked.units.empty() && marked.errors.empty()) return {};

  // At once: others are being stopped, and what they leave behind tells nobody whose it is.
  auto looked = look_below_run(bus, marked.units);
  Swap swap = TRY(store.create());
  Manifest manifest{.id = swap.id(),
                    .boot_id = boot_id(),
                    .kernel = kernel_release(),
                    .created = realtime_microseconds() / 1000000};
  for (const std::string& error : marked.errors) swap.note("mark", "", error);
  if (!looked) swap.note("run-files", "", looked.error().what);
  auto engine = usable_engine(store);
  std::vector<Passenger> passengers;
  Hold hold(bus);
  if (engine) {
    if (auto quiet = keep_systemd_quiet(bus, marked.units); !quiet) swap.note("quiet", "", quiet.error().what);
    for (const Candidate& one : marked.units) engine->prepare(target_of(one.unit), next);
    drain_queues(*engine, marked.units, swap, hold);
    passengers = freeze_all(*engine, marked.units, next, swap, manifest, hold);
    dump_all(passengers, swap, manifest, hold);
    std::vector<std::string> staying;
    staying.reserve(manifest.left_out.size());
    for (const LeftOutUnit& unit : manifest.left_out) staying.push_back(unit.name);
    if (auto loud = let_systemd_speak(bus, staying); !loud) swap.note("quiet", "", loud.error().what);
  } else {
    for (const Candidate& one : marked.units) leave_out(manifest, swap, one.unit.name, {engine.error().what});
  }
  if (manifest.units.empty() && manifest.left_out.empty()) return swap.remove();

  TRY(commit(swap, manifest));
  if (auto kept = hold.keep(); !kept) swap.note("hold", "", kept.error().what);
  kill_dumped(swap, passengers, hold);
  return {};
}

Result<> clean_up(const SwapStore& store) {
  std::string boot = boot_id();
  std::set<std::string> carried;
  for (const Swap& swap : store.swaps()) {
    auto manifest = swap.manifest();
    if (!manifest) {
      // Cut short before its commit. A damaged one is for finish to report.
      if (manifest.error().code == ENOENT) TRY(swap.remove());
      continue;
    }
    if (manifest->boot_id != boot) continue;
    for (const CarriedUnit& unit : manifest->units) {
      if (!swap.pending(unit.name)) continue;
      if (std::ranges::none_of(unit.processes, is_alive)) {
        carried.insert(unit.name);
        continue;
      }
      TRY(swap.withdraw(unit.name));
      lift_if_held(unit.name);
      TRY(swap.record(unit.name,
                      {.fate = Fate::cold, .reason = "the swap was cut short before its processes ended"}));
      swap.note("withdrawn", unit.name, "its processes still ran");
    }
  }
  return let_systemd_speak_of_others(carried);
}

}  // namespace ks::upgrade
