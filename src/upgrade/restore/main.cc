// SPDX-License-Identifier: LGPL-2.1-or-later
// LIBEXEC/restore UNIT [--into PID], the unit's ExecStartPost= in the boot after a swap: privileged, in the
// unit's control group. PID is the placeholder's, if systemd knows it. It ends with success even when the unit starts
// afresh, since a failure would take the unit down.
#include <fmt/core.h>

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "base/text.h"
#include "upgrade/hold/client.h"
#include "upgrade/machine.h"
#include "upgrade/restore/bring_back.h"
#include "upgrade/restore/cold_start.h"
#include "upgrade/restore/loaded_files.h"
#include "upgrade/restore/placeholder_control.h"

namespace {

using namespace ks::upgrade;

// The swap that made systemd start the unit as a placeholder: it may be settled already, or the image used.
std::optional<Manifest> manifest_of(const Swap& swap) {
  auto manifest = swap.manifest();
  if (!manifest) return std::nullopt;
  return *manifest;
}

ks::Result<> start(const std::string& name, pid_t placeholder) {
  SwapStore store;
  auto swap = store.newest();
  auto manifest = swap ? manifest_of(*swap) : std::nullopt;
  const CarriedUnit* unit = manifest ? manifest->find(name) : nullptr;
  // Those of an attempt that was cut short may not be whole.
  if (unit)
    if (auto gone = take_back_loaded(*swap, *unit, placeholder); !gone)
      swap->note("left-there", name, gone.error().what);
  if (unit && swap->pending(name) && manifest->boot_id != boot_id()) {
    auto back = bring_back(*swap, *unit, placeholder);
    if (back) return {};
    fmt::print(stderr, "<3>not restored: {}; starting afresh\n", back.error().what);
  }
  lift_if_held(name);  // its peers learn that nobody knows them any more
  return start_cold(unit, placeholder);
}

}  // namespace

int main(int argc, char** argv) {
  ks::Result<pid_t> pid = ks::fail("usage: restore UNIT [--into PID]");
  if (argc == 2)
    pid = find_placeholder();
  else if (argc == 4 && std::string_view(argv[2]) == "--into")
    if (auto number = ks::parse_number<pid_t>(argv[3]); number && *number > 1) pid = *number;
  if (!pid) {
    fmt::print(stderr, "<3>{}\n", pid.error().what);
    return 2;
  }
  auto started = start(argv[1], *pid);
  if (started) return EXIT_SUCCESS;
  fmt::print(stderr, "<3>{}\n", started.error().what);
  return EXIT_FAILURE;
}
