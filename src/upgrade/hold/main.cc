// SPDX-License-Identifier: LGPL-2.1-or-later
// LIBEXEC/hold [LIMIT], ExecStart= of kernel-swap-hold.service: keeps the hold. In the boot after a swap it starts
// with what that has left behind, before the network comes up; in the old kernel the dump asks for it.
#include <fmt/core.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#include <cstdio>
#include <cstdlib>

#include "base/text.h"
#include "upgrade/hold/client.h"
#include "upgrade/hold/keeper.h"
#include "upgrade/machine.h"
#include "upgrade/swap_store.h"

namespace {

using namespace ks::upgrade;

// By then every peer has given up (tcp_retries2: 15 minutes).
constexpr uint64_t kLimitSeconds = 900;

ks::Result<Holdings> pending_holdings() {
  Holdings holdings;
  auto swap = SwapStore().open_swap(boot_id());
  if (!swap) return holdings;
  Manifest manifest = TRY(swap->manifest());
  for (const CarriedUnit& unit : manifest.units)
    if (swap->pending(unit.name)) TRY(in(unit.name, holdings.hold(unit.name, unit.held)));
  return holdings;
}

ks::Result<> keep_hold(uint64_t limit_seconds) {
  if (::mkdir(kRunDirectory, 0755) && errno != EEXIST) return ks::fail_errno(kRunDirectory);
  auto keeper = TRY(Keeper::open(kHoldSocket, TRY(pending_holdings())));
  ::sd_notify(0, "READY=1");
  return keeper.serve(limit_seconds);
}

}  // namespace

int main(int argc, char** argv) {
  auto limit = argc == 1 ? kLimitSeconds : ks::parse_number<uint64_t>(argv[1]);
  if (!limit || argc > 2) {
    fmt::print(stderr, "usage: hold [LIMIT-IN-SECONDS]\n");
    return 2;
  }
  auto kept = keep_hold(*limit);
  if (kept) return EXIT_SUCCESS;
  fmt::print(stderr, "{}\n", kept.error().what);
  return EXIT_FAILURE;
}
