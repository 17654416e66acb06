// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/shutdown/swap_out.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <set>

#include "base/backoff.h"
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

struct Refused {
  std::string unit;
  Obstacles obstacles;
};

void leave_out(Manifest& manifest, const Swap& swap, Refused refused) {
  for (const std::string& reason : refused.obstacles.reasons) swap.note("left-out", refused.unit, reason);
  manifest.left_out.push_back({std::move(refused.unit), std::move(refused.obstacles.reasons)});
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
  std::vector<const UnitState*> waiting;
  for (const Candidate& one : units) {
    auto found = unit_reasons(one.unit).empty() ? engine.waiting(target_of(one.unit)) : fail("cannot be carried");
    if (!found || found->sockets.empty()) continue;
    auto lines = to_lines(found->sockets);
    auto held = lines ? hold.hold(one.unit.name, *lines) : std::unexpected(lines.error());
    if (!held) swap.note("hold", one.unit.name, held.error().what);
    if (held) waiting.push_back(&one.unit);
  }
  Backoff patience(Backoff::Clock::now() + kPatience, kShortestPause, kShortestPause);
  do std::erase_if(waiting, [&](const UnitState* unit) { return has_read_all(engine, *unit); });
  while (!waiting.empty() && patience.pause());
}

// What has come of an attempt to take all of them.
struct Attempt {
  std::vector<Passenger> passengers;
  std::vector<CarriedUnit> carried;  // the same
  std::vector<Refused> refused;
  bool complete = true;
};

// All are frozen before the first is dumped, so that what they say to each other is not torn apart. Unless it is the
// last attempt, it ends where it has come to nothing, so that what may pass can pass.
Attempt take(const engine::Engine& engine, const std::vector<Candidate>& units, const engine::NextKernel& next,
             const Swap& swap, Hold& hold, bool last) {
  Attempt attempt;
  auto turn_down = [&](const std::string& unit, Obstacles obstacles) {
    hold.lift(unit);  // it runs on
    attempt.complete &= last || !obstacles.for_now;
    attempt.refused.push_back({unit, std::move(obstacles)});
  };
  for (const Candidate& one : units) {
    if (!attempt.complete) break;
    auto passenger = Passenger::freeze(engine, one, next);
    if (passenger) {
      swap.note("frozen", one.unit.name, "");
      attempt.passengers.push_back(std::move(*passenger));
    } else {
      turn_down(one.unit.name, std::move(passenger.error()));
    }
  }
  HoldUnit hold_unit = [&](const std::string& unit, std::span<const std::string> lines) {
    return hold.hold(unit, lines);
  };
  std::erase_if(attempt.passengers, [&](Passenger& passenger) {
    if (!attempt.complete) return false;
    auto dumped = passenger.dump(swap.image(passenger.name()), swap.places(passenger.name()), hold_unit);
    if (!dumped) {
      turn_down(passenger.name(), std::move(dumped.error()));
      return true;  // which thaws it
    }
    swap.note("dumped", passenger.name(),
              fmt::format("{} bytes in {:.3f} s", dumped->memory_bytes, dumped->frozen_seconds));
    attempt.carried.push_back(std::move(*dumped));
    return false;
  });
  return attempt;
}

// All run on, so that what one was about to do it can do, whoever it needs for that.
void give_back(Attempt attempt, const Swap& swap, Hold& hold) {
  std::vector<std::string> names;
  names.reserve(attempt.passengers.size());
  for (const Passenger& passenger : attempt.passengers) names.push_back(passenger.name());
  attempt.passengers.clear();
  for (const std::string& name : names) hold.lift(name);
  for (const CarriedUnit& unit : attempt.carried) {
    for (const std::string& path : {swap.image(unit.name), swap.places(unit.name)})
      if (auto removed = remove_tree(path); !removed) swap.note("left-there", unit.name, removed.error().what);
  }
  for (const std::string& name : names) swap.note("given-back", name, "");
  for (const Refused& refused : attempt.refused)
    for (const std::string& reason : refused.obstacles.reasons) swap.note("again", refused.unit, reason);
}

void look_again(const Bus& bus, Candidate& one) {
  if (auto state = bus.unit(one.unit.name)) one.unit = std::move(*state);
}

// Whether what stood in the way of a unit, which runs on, is gone or will stay.
bool has_passed(const Bus& bus, const engine::Engine& engine, Candidate& one, const engine::NextKernel& next) {
  look_again(bus, one);
  auto reasons = unit_reasons(one.unit);
  if (reasons.empty()) reasons = examine_once(engine, one, swap_options(one, next)).reasons;
  return !engine::are_for_now(reasons);
}

// A verdict may have been given a moment ago when nothing stood in the way. So what may pass is waited for. Whom the
// last attempt has failed by, is the first of the next.
std::vector<Passenger> take_patiently(const Bus& bus, const engine::Engine& engine, std::vector<Candidate> units,
                                      const engine::NextKernel& next, const Swap& swap, Manifest& manifest,
                                      Hold& hold) {
  constexpr auto kSwapPatience = std::chrono::seconds(5);
  constexpr int kMostAttempts = 10;
  auto waited = std::chrono::nanoseconds(0);
  for (int attempts = 1;; ++attempts) {
    drain_queues(engine, units, swap, hold);
    bool last = attempts == kMostAttempts || waited >= kSwapPatience;
    Attempt attempt = take(engine, units, next, swap, hold, last);
    std::erase_if(attempt.refused, [&](Refused& refused) {
      if (refused.obstacles.for_now && !last) return false;
      std::erase_if(units, [&](const Candidate& one) { return one.unit.name == refused.unit; });
      leave_out(manifest, swap, std::move(refused));
      return true;
    });
    if (attempt.complete) {
      for (const CarriedUnit& unit : attempt.carried)
        for (const std::string& remark : unit.remarks) swap.note("remark", unit.name, remark);
      manifest.units = std::move(attempt.carried);
      return std::move(attempt.passengers);
    }
    std::ranges::stable_partition(units, [&](const Candidate& one) {
      return std::ranges::count(attempt.refused, one.unit.name, &Refused::unit) > 0;
    });
    auto refused = std::span(units).first(attempt.refused.size());
    give_back(std::move(attempt), swap, hold);
    auto begun = Backoff::Clock::now();
    Backoff patience(begun + (kSwapPatience - waited), kShortestPause, kLongestPause);
    while (patience.pause() &&
           !std::ranges::all_of(refused, [&](Candidate& one) { return has_passed(bus, engine, one, next); })) {
    }
    // Each has run on, and may have another main process.
    for (Candidate& one : units) look_again(bus, one);
    waited += Backoff::Clock::now() - begun;
  }
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
    passengers = take_patiently(bus, *engine, marked.units, next, swap, manifest, hold);
    std::vector<std::string> staying;
    staying.reserve(manifest.left_out.size());
    for (const LeftOutUnit& unit : manifest.left_out) staying.push_back(unit.name);
    if (auto loud = let_systemd_speak(bus, staying); !loud) swap.note("quiet", "", loud.error().what);
  } else {
    for (const Candidate& one : marked.units) leave_out(manifest, swap, {one.unit.name, {{engine.error().what}}});
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
