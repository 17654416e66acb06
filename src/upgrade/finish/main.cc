// SPDX-License-Identifier: LGPL-2.1-or-later
// LIBEXEC/finish, ExecStart= of kernel-swap-finish.service
#include <fmt/core.h>

#include <cstdio>
#include <cstdlib>

#include "upgrade/finish/settle.h"

int main() {
  auto settled = ks::upgrade::settle(ks::upgrade::SwapStore());
  if (settled) return EXIT_SUCCESS;
  fmt::print(stderr, "{}\n", settled.error().what);
  return EXIT_FAILURE;
}
