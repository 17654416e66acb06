// SPDX-License-Identifier: LGPL-2.1-or-later
#include <fmt/chrono.h>
#include <fmt/core.h>

#include "upgrade/cli/verbs.h"
#include "upgrade/json.h"
#include "upgrade/machine.h"
#include "upgrade/swap_store.h"

namespace ks::upgrade {

namespace {

struct Line {
  std::string unit, state, text;
  double pause = 0;
  std::vector<std::string> remarks = {};
};

// Before finish has settled the swap, a unit without an outcome is on its way.
std::vector<Line> lines_of(const Swap& swap, const Manifest& manifest) {
  std::vector<Line> lines;
  for (const CarriedUnit& unit : manifest.units) {
    auto outcome = swap.outcome(unit.name);
    if (!outcome)
      lines.push_back(
          {unit.name, "pending", manifest.boot_id == boot_id() ? "until the next boot" : "", 0, unit.remarks});
    else
      lines.push_back({unit.name, std::string(to_string(outcome->fate)), outcome->reason, outcome->pause_seconds,
                       outcome->fate == Fate::restored ? unit.remarks : std::vector<std::string>{}});
  }
  for (const LeftOutUnit& unit : manifest.left_out) {
    std::string reasons;
    for (const std::string& reason : unit.reasons) reasons += (reasons.empty() ? "" : "; ") + reason;
    lines.push_back({unit.name, "left out", reasons});
  }
  return lines;
}

}  // namespace

Result<int> run(const Status& status) {
  auto swap = SwapStore().newest();
  if (!swap) {
    if (status.json)
      fmt::print("{}", Json::object().set("swap", "").set("well", true).set("units", Json::array()).text());
    if (!status.json) fmt::print("no swap yet\n");
    return kDone;
  }
  Manifest manifest = TRY(swap->manifest());
  auto lines = lines_of(*swap, manifest);
  bool well = true;
  for (const Line& line : lines) well &= line.state == "restored";

  if (status.json) {
    Json units = Json::array();
    for (const Line& line : lines) {
      Json entry = Json::object();
      entry.set("unit", line.unit)
          .set("state", line.state)
          .set("reason", line.text)
          .set("pause_seconds", line.pause)
          .set("remarks", Json::array(line.remarks));
      units.add(std::move(entry));
    }
    Json json = Json::object();
    json.set("swap", swap->id())
        .set("old_kernel", manifest.kernel)
        .set("kernel", kernel_release())
        .set("created", manifest.created)
        .set("settled", !swap->is_open())
        .set("well", well)
        .set("units", std::move(units));
    fmt::print("{}", json.text());
    return well ? kDone : kFailed;
  }
  fmt::print("swap {} of {:%Y-%m-%d %H:%M:%S}, from {}{}\n", swap->id(),
             fmt::localtime(static_cast<time_t>(manifest.created)), manifest.kernel,
             swap->is_open() ? ", not settled yet" : "");
  for (const Line& line : lines) {
    fmt::print("  {}: {}", line.unit, line.state);
    if (line.state == "restored") fmt::print(" after {:.1f} s", line.pause);
    fmt::print("{}{}\n", line.text.empty() ? "" : ": ", line.text);
    for (const std::string& remark : line.remarks) fmt::print("    {}\n", remark);
  }
  return well ? kDone : kFailed;
}

}  // namespace ks::upgrade
