// SPDX-License-Identifier: LGPL-2.1-or-later
// The program break: what lies below it, and that it still moves.
#include "program.h"

int main() {
  free(malloc(1));  // the C library's part of the heap comes first
  char* start = static_cast<char*>(sbrk(300 * kPage));
  CHECK(start != reinterpret_cast<char*>(-1));
  start += -reinterpret_cast<uintptr_t>(start) % kPage;
  for (size_t i = 0; i < 299; ++i) fill_page(start + i * kPage, i);
  void* end = sbrk(0);
  ready();
  CHECK(sbrk(0) == end);
  for (size_t i = 0; i < 299; ++i) CHECK(page_is(start + i * kPage, i));
  CHECK(sbrk(100 * kPage) == end);
  memset(end, 1, 100 * kPage);
  CHECK(sbrk(-200 * static_cast<intptr_t>(kPage)) != reinterpret_cast<void*>(-1));
  CHECK(page_is(start, 0));
  return 0;
}
