// SPDX-License-Identifier: LGPL-2.1-or-later
// Guard pages of madvise(2) (MADV_GUARD_INSTALL, since 6.13), as newer C libraries put below thread stacks.
#include <setjmp.h>

#include "program.h"

static sigjmp_buf escape;
static bool faults(char* at) {
  if (sigsetjmp(escape, 1)) return true;
  *at = 1;
  return false;
}

int main() {
  signal(SIGSEGV, [](int) { siglongjmp(escape, 1); });
  char* at = map_memory(16 * kPage);
  for (int i = 0; i < 16; ++i) fill_page(at + i * kPage, i);
  constexpr int kGuardInstall = 102;
  if (madvise(at + 4 * kPage, 3 * kPage, kGuardInstall)) skip("this kernel has no guard pages");
  CHECK(madvise(at + 15 * kPage, kPage, kGuardInstall) == 0);
  ready();
  for (int i = 0; i < 16; ++i) {
    bool guarded = (i >= 4 && i < 7) || i == 15;
    CHECK(guarded ? faults(at + i * kPage) : page_is(at + i * kPage, i));
  }
  return 0;
}
