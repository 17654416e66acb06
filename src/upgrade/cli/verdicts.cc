// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/cli/verdicts.h"

#include <fmt/core.h>

#include <cstdio>

namespace ks::upgrade {

Json to_json(const std::vector<UnitVerdict>& verdicts) {
  Json units = Json::array();
  for (const UnitVerdict& verdict : verdicts) {
    Json reasons = Json::array();
    for (const engine::Reason& reason : verdict.reasons) {
      Json entry = Json::object();
      entry.set("pid", reason.pid).set("object", reason.object).set("text", reason.text);
      reasons.add(std::move(entry));
    }
    Json entry = Json::object();
    entry.set("unit", verdict.unit)
        .set("running", verdict.running)
        .set("ready", verdict.running && verdict.reasons.empty())
        .set("reasons", std::move(reasons));
    units.add(std::move(entry));
  }
  return units;
}

void print(const std::vector<UnitVerdict>& verdicts) {
  for (const UnitVerdict& verdict : verdicts) {
    if (!verdict.running)
      fmt::print("{}: not running, nothing to carry over\n", verdict.unit);
    else if (verdict.reasons.empty())
      fmt::print("{}: ready\n", verdict.unit);
    for (const engine::Reason& reason : verdict.reasons)
      fmt::print(stderr, "{}\n", reason_line(verdict.unit, reason));
  }
}

}  // namespace ks::upgrade
