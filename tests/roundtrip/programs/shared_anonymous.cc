// SPDX-License-Identifier: LGPL-2.1-or-later
// Shared anonymous memory between parent and child, also mapped twice, in part, and unequally protected.
#include "program.h"

int main() {
  constexpr size_t kPages = 50;
  char* shared = map_memory(kPages * kPage, MAP_SHARED);
  for (size_t i = 0; i < kPages; i += 2) fill_page(shared + i * kPage, i);
  char* again = static_cast<char*>(mremap(shared, 0, kPages * kPage, MREMAP_MAYMOVE));
  CHECK(again != MAP_FAILED && again != shared);
  char* empty = map_memory(10 * kPage, MAP_SHARED);
  auto* flag = reinterpret_cast<volatile int*>(shared + kPage);
  pid_t child = fork();
  if (child == 0) {
    CHECK(munmap(shared, 4 * kPage) == 0);
    CHECK(mprotect(again + 4 * kPage, 4 * kPage, PROT_READ) == 0);
    flag = reinterpret_cast<volatile int*>(again + kPage);
    *flag = 1;
    while (*flag != 2) usleep(1000);
    for (size_t i = 4; i < kPages; i += 2) CHECK(page_is(shared + i * kPage, i));
    fill_page(empty + 5 * kPage, 55);
    fill_page(again + 3 * kPage, 33);
    *flag = 3;
    return 0;
  }
  while (*flag != 1) usleep(1000);
  ready();
  for (size_t i = 0; i < kPages; i += 2) CHECK(page_is(shared + i * kPage, i) && page_is(again + i * kPage, i));
  CHECK(page_is_zero(shared + 3 * kPage));
  *flag = 2;
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  CHECK(*flag == 3 && page_is(empty + 5 * kPage, 55) && page_is(shared + 3 * kPage, 33) &&
        page_is(again + 3 * kPage, 33));
  return 0;
}
