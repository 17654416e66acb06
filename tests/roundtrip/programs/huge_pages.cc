// SPDX-License-Identifier: LGPL-2.1-or-later
// Transparent huge pages, whole and broken up, keep their data; so does memory that never had any.
#include "program.h"

int main() {
  constexpr size_t kHugePage = 2 << 20, kSize = 8 * kHugePage;
  char* at = map_memory(kSize + kHugePage);
  at += -reinterpret_cast<uintptr_t>(at) % kHugePage;
  if (madvise(at, kSize, MADV_HUGEPAGE)) skip("this kernel has no transparent huge pages");
  for (size_t page = 0; page < kSize / kPage; ++page) fill_page(at + page * kPage, page);
  CHECK(madvise(at + 3 * kHugePage + kPage, 5 * kPage, MADV_DONTNEED) == 0);
  ready();
  for (size_t page = 0; page < kSize / kPage; ++page) {
    bool dropped = page > 3 * 512 && page <= 3 * 512 + 5;
    CHECK(dropped ? page_is_zero(at + page * kPage) : page_is(at + page * kPage, page));
  }
  return 0;
}
