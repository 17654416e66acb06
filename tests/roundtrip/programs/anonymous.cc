// SPDX-License-Identifier: LGPL-2.1-or-later
// Private anonymous memory: data, holes and pages that were only read; neighbours that differ in protection; an
// area far larger than the machine; one that grows down.
#include "program.h"

int main() {
  constexpr size_t kPages = 3000;
  char* mixed = map_memory(kPages * kPage);
  for (size_t i = 0; i < kPages; i += 3) fill_page(mixed + i * kPage, i);
  for (size_t i = 1; i < kPages; i += 3) CHECK(page_is_zero(mixed + i * kPage));

  constexpr size_t kHuge = size_t{1} << 40;
  char* sparse = map_memory(kHuge, MAP_PRIVATE | MAP_NORESERVE);
  for (size_t at = 0; at < kHuge; at += kHuge / 8) fill_page(sparse + at, at);

  char* striped = map_memory(64 * kPage);
  for (size_t i = 0; i < 64; ++i) fill_page(striped + i * kPage, i);
  for (size_t i = 0; i < 64; i += 2) CHECK(mprotect(striped + i * kPage, kPage, PROT_READ) == 0);

  char* downward = map_memory(4 * kPage, MAP_PRIVATE | MAP_GROWSDOWN);
  fill_page(downward, 7);
  ready();
  for (size_t i = 0; i < kPages; ++i)
    CHECK(i % 3 == 0 ? page_is(mixed + i * kPage, i) : page_is_zero(mixed + i * kPage));
  for (size_t at = 0; at < kHuge; at += kHuge / 8)
    CHECK(page_is(sparse + at, at) && page_is_zero(sparse + at + kPage));
  for (size_t i = 0; i < 64; ++i) CHECK(page_is(striped + i * kPage, i));
  CHECK(page_is(downward, 7));
  fill_page(mixed + kPage, 1);
  fill_page(striped + kPage, 99);
  return 0;
}
