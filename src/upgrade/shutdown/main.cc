// SPDX-License-Identifier: LGPL-2.1-or-later
// LIBEXEC/shutdown            ExecStop= of kernel-swap.service
// LIBEXEC/shutdown --clean-up ExecStopPost=: also runs when the first was killed
#include <fmt/core.h>

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "upgrade/next_kernel.h"
#include "upgrade/shutdown/swap_out.h"

namespace {

ks::Result<> shut_down() {
  using namespace ks::upgrade;
  Bus bus = TRY(Bus::open());
  auto target = booting_target(TRY(bus.jobs()));
  if (!target) return {};  // systemctl restart kernel-swap, or the machine is to be switched off
  return swap_out(bus, SwapStore(), announced_kernel(*target));
}

}  // namespace

int main(int argc, char** argv) {
  bool cleaning = argc > 1 && std::string_view(argv[1]) == "--clean-up";
  auto done = cleaning ? ks::upgrade::clean_up(ks::upgrade::SwapStore()) : shut_down();
  if (done) return EXIT_SUCCESS;
  fmt::print(stderr, "{}\n", done.error().what);
  return EXIT_FAILURE;
}
