// SPDX-License-Identifier: LGPL-2.1-or-later
// What madvise(2), mlock(2) and prctl(2) have said of areas. The driver compares VmFlags; here is what they do.
#include <sys/prctl.h>

#include "program.h"

static char* advised(int advice) {
  char* at = map_memory(4 * kPage);
  map_memory(kPage, MAP_PRIVATE, PROT_NONE);  // keeps areas apart
  fill_page(at, advice);
  if (madvise(at, 4 * kPage, advice)) CHECK(errno == EINVAL);  // a kernel without it
  return at;
}

int main() {
  int kinds[] = {MADV_SEQUENTIAL, MADV_RANDOM, MADV_DONTDUMP, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_MERGEABLE};
  char* areas[6];
  for (int i = 0; i < 6; ++i) areas[i] = advised(kinds[i]);
  char* wiped = advised(MADV_WIPEONFORK);
  char* absent = advised(MADV_DONTFORK);
  char* locked = map_memory(4 * kPage);
  CHECK(mlock(locked, 4 * kPage) == 0);
  char* on_fault = map_memory(4 * kPage);
  CHECK(mlock2(on_fault, 4 * kPage, MLOCK_ONFAULT) == 0);
  char* named = map_memory(4 * kPage, MAP_PRIVATE | MAP_NORESERVE);
  (void)prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, named, 4 * kPage, "a name");
  ready();
  for (int i = 0; i < 6; ++i) CHECK(page_is(areas[i], kinds[i]));
  CHECK(page_is(wiped, MADV_WIPEONFORK) && page_is(absent, MADV_DONTFORK));
  pid_t child = fork();
  if (child == 0) {
    CHECK(page_is_zero(wiped));
    signal(SIGSEGV, [](int) { _exit(7); });
    return *static_cast<volatile char*>(absent);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 7);
  return 0;
}
