// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/cli/verdicts.h"

#include <fmt/core.h>

#include <cstdio>

namespace ks::upgrade {

namespace {

Json to_json(const std::vector<engine::Reason>& reasons) {
  Json list = Json::array();
  for (const engine::Reason& reason : reasons) {
    Json entry = Json::object();
    entry.set("pid", reason.pid).set("object", reason.object).set("text", reason.text);
    list.add(std::move(entry));
  }
  return list;
}

}  // namespace

Json to_json(const std::vector<UnitVerdict>& verdicts) {
  Json units = Json::array();
  for (const auto& [unit, running, verdict] : verdicts) {
    Json entry = Json::object();
    entry.set("unit", unit)
        .set("running", running)
        .set("ready", running && verdict.ready())
        .set("reasons", to_json(verdict.reasons))
        .set("remarks", to_json(verdict.remarks));
    units.add(std::move(entry));
  }
  return units;
}

void print(const std::vector<UnitVerdict>& verdicts) {
  for (const auto& [unit, running, verdict] : verdicts) {
    if (!running)
      fmt::print("{}: not running, nothing to carry over\n", unit);
    else if (verdict.ready())
      fmt::print("{}: ready\n", unit);
    for (const engine::Reason& remark : verdict.remarks) fmt::print("{}\n", reason_line(unit, remark));
    for (const engine::Reason& reason : verdict.reasons) fmt::print(stderr, "{}\n", reason_line(unit, reason));
  }
}

}  // namespace ks::upgrade
