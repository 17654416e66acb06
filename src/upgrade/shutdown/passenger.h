// SPDX-License-Identifier: LGPL-2.1-or-later
// One unit on its way out of the old kernel. Its end gives the unit back, running, unless it was killed.
#pragma once

#include <expected>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "upgrade/candidate.h"
#include "upgrade/manifest.h"

namespace ks::upgrade {

struct Obstacles {
  std::vector<std::string> reasons;
  bool for_now = false;  // may be gone in a moment
};
// Holds back what peers send to a unit: lines of hold/held_socket.h.
using HoldUnit = std::function<Result<>(const std::string& unit, std::span<const std::string> lines)>;

class Passenger {
 public:
  static std::expected<Passenger, Obstacles> freeze(const engine::Engine& engine, const Candidate& candidate,
                                                    const engine::NextKernel& next);

  const std::string& name() const { return unit_.name; }
  // Writes the image, and beside it what lies in the unit's volatile places, and tells what the manifest is
  // to say of them. On an error neither is left.
  std::expected<CarriedUnit, Obstacles> dump(const std::string& image, const std::string& places,
                                             const HoldUnit& hold);
  Result<> kill() { return frozen_.kill(); }

 private:
  Passenger(const Candidate& candidate, engine::DumpOptions options, engine::Frozen frozen, int64_t frozen_at)
      : unit_(candidate.unit),
        places_(candidate.places()),
        run_remarks_(candidate.run.remarks),
        options_(std::move(options)),
        frozen_(std::move(frozen)),
        frozen_at_(frozen_at) {}
  std::expected<CarriedUnit, Obstacles> describe(const engine::DumpReport& report,
                                                 const std::string& directory) const;
  UnitState unit_;
  std::vector<Place> places_;
  std::vector<engine::Reason> run_remarks_;
  engine::DumpOptions options_;
  engine::Frozen frozen_;
  int64_t frozen_at_;  // microseconds since 1970
};

}  // namespace ks::upgrade
