// SPDX-License-Identifier: LGPL-2.1-or-later
#include <fmt/core.h>

#include <algorithm>

#include "upgrade/cli/verbs.h"
#include "upgrade/cli/verdicts.h"
#include "upgrade/kernels.h"
#include "upgrade/next_kernel.h"
#include "upgrade/readiness.h"
#include "upgrade/unit_name.h"

namespace ks::upgrade {

namespace {

Result<std::vector<Candidate>> asked_for(const Bus& bus, const std::vector<std::string>& words) {
  std::vector<Candidate> candidates;
  for (const std::string& word : words) {
    std::string name = TRY(parse_service_name(word));
    Candidate one = TRY(candidate(bus, name));
    if (std::string why = unmarkable(one.unit); !why.empty()) return fail(name + ": " + why);
    if (one.unit.active_state == "inactive" || one.unit.active_state == "failed") return fail(name + ": not running");
    candidates.push_back(std::move(one));
  }
  return candidates;
}

// As `now` would find it. What is asked for has to be there.
Result<engine::NextKernel> kernel_of(const Check& check) {
  if (!check.kernel_image.empty()) return TRY(open_kernel(check.kernel_image)).kernel;
  auto kernel = installed_kernel(check.kernel);
  if (!kernel && !check.kernel.empty()) return std::unexpected(kernel.error());
  if (!kernel) return engine::NextKernel::unknown(kernel.error().what);
  return TRY(open_kernel(kernel->image)).kernel;
}

}  // namespace

Result<int> run(const Check& check) {
  engine::NextKernel next = TRY(kernel_of(check));
  Bus bus = TRY(Bus::open());
  std::vector<Candidate> candidates;
  if (check.units.empty()) {
    MarkedUnits marked = TRY(marked_units(bus));
    if (!marked.errors.empty()) return fail(marked.errors.front());
    candidates = std::move(marked.units);
  } else {
    candidates = TRY(asked_for(bus, check.units));
  }
  TRY(look_below_run(bus, candidates));
  auto engine = TRY(engine::Engine::open());
  std::vector<UnitVerdict> verdicts;
  for (const Candidate& one : candidates) {
    bool running = one.unit.active_state != "inactive" && one.unit.active_state != "failed";
    verdicts.push_back({one.unit.name, running, running ? examine(engine, one, next) : engine::Verdict{}});
  }
  if (verdicts.empty() && !check.json) fmt::print(stderr, "no unit is marked\n");
  if (check.json)
    fmt::print("{}", to_json(verdicts).text());
  else
    print(verdicts);
  bool ready = std::ranges::all_of(verdicts, [](const UnitVerdict& one) { return one.verdict.ready(); });
  return ready ? kDone : kRefused;
}

}  // namespace ks::upgrade
