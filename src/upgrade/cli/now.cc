// SPDX-License-Identifier: LGPL-2.1-or-later
#include <fmt/core.h>

#include <cstdio>

#include "upgrade/cli/verbs.h"
#include "upgrade/cli/verdicts.h"
#include "upgrade/machine.h"
#include "upgrade/steps/upgrade.h"

namespace ks::upgrade {

namespace {

void print_plan(const Upgrade& upgrade) {
  fmt::print("from {} to {}\n", kernel_release(),
             upgrade.kernel.version.empty() ? upgrade.kernel.image : upgrade.kernel.version);
  fmt::print("command line: {}\n", upgrade.command_line);
}

Json to_json(const Upgrade& upgrade) {
  Json json = Json::object();
  json.set("running", kernel_release())
      .set("kernel", upgrade.kernel.version)
      .set("image", upgrade.kernel.image)
      .set("initrd", upgrade.kernel.initrd)
      .set("command_line", upgrade.command_line)
      .set("units", to_json(upgrade.verdicts));
  return json;
}

}  // namespace

Result<int> run(const Now& now) {
  Upgrade upgrade{.version = now.kernel,
                  .image = now.kernel_image,
                  .initrd = now.initrd,
                  .append = now.append,
                  .skip_unready = now.skip_unready};
  auto checked = run_steps(checks(), upgrade);
  if (checked || !upgrade.verdicts.empty()) {
    if (now.json)
      fmt::print("{}", to_json(upgrade).text());
    else
      print_plan(upgrade);
    if (!now.json) print(upgrade.verdicts);
  }
  if (!checked) return std::unexpected(checked.error());
  if (upgrade.verdicts.empty()) fmt::print(stderr, "no unit is marked: every service will be started afresh\n");
  if (now.dry_run) return kDone;

  std::fflush(stdout);  // the next thing that happens may be the end of our terminal
  auto gone = run_steps(acts(), upgrade);
  for (const std::string& note : upgrade.notes) fmt::print(stderr, "{}\n", note);
  if (!gone) return std::unexpected(gone.error());
  return kDone;
}

}  // namespace ks::upgrade
