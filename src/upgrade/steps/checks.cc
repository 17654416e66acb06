// SPDX-License-Identifier: LGPL-2.1-or-later
#include <unistd.h>

#include <algorithm>
#include <array>

#include "base/file.h"
#include "upgrade/kexec.h"
#include "upgrade/machine.h"
#include "upgrade/readiness.h"
#include "upgrade/steps/upgrade.h"
#include "upgrade/store_check.h"
#include "upgrade/volatile.h"

namespace ks::upgrade {

namespace {

Result<> find_kernel(Upgrade& upgrade) {
  if (upgrade.image.empty())
    upgrade.kernel = TRY(installed_kernel(upgrade.version));
  else
    upgrade.kernel = {.version = "", .image = upgrade.image, .initrd = upgrade.initrd};
  upgrade.file = TRY(open_kernel(upgrade.kernel.image));
  if (const std::string& initrd = upgrade.kernel.initrd; !initrd.empty() && ::access(initrd.c_str(), R_OK))
    return fail_errno(initrd);
  upgrade.command_line = next_command_line(TRY(read_file("/proc/cmdline")), upgrade.append);
  return {};
}

Result<> check_permission(Upgrade&) { return require_kexec(); }

Result<> check_store(Upgrade& upgrade) { return require_root_file_system(upgrade.store.root()); }

Result<> examine_units(Upgrade& upgrade) {
  upgrade.bus = TRY(Bus::open());
  MarkedUnits marked = TRY(marked_units(*upgrade.bus));
  if (!marked.errors.empty()) return fail(marked.errors.front());
  TRY(look_below_run(*upgrade.bus, marked.units));
  auto engine = TRY(engine::Engine::open());
  uint64_t bytes = 0;
  for (const Candidate& one : marked.units) {
    UnitVerdict verdict{.unit = one.unit.name,
                        .running = one.unit.active_state != "inactive" && one.unit.active_state != "failed",
                        .verdict = {}};
    if (verdict.running) verdict.verdict = examine(engine, one, upgrade.file->kernel);
    if (verdict.running && verdict.verdict.ready()) {
      for (pid_t pid : TRY(cgroup_processes(one.unit.control_group))) bytes += own_memory(pid);
      bytes += measure_places(one.places(), process_of(one.unit)).value_or(0);
    }
    upgrade.verdicts.push_back(std::move(verdict));
  }
  return require_space(upgrade.store.root(), bytes);
}

Result<> heed_verdicts(Upgrade& upgrade) {
  bool ready = std::ranges::all_of(upgrade.verdicts, [](const UnitVerdict& one) { return one.verdict.ready(); });
  if (!ready && !upgrade.skip_unready)
    return refuse("not every marked unit can be carried over; --skip-unready goes on without those that cannot");
  return {};
}

constexpr std::array kChecks = {
    Step{"permission", check_permission}, Step{"kernel", find_kernel},     Step{"store", check_store},
    Step{"units", examine_units},         Step{"verdicts", heed_verdicts},
};

}  // namespace

std::span<const Step> checks() { return kChecks; }

}  // namespace ks::upgrade
