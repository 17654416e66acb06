// SPDX-License-Identifier: LGPL-2.1-or-later
// Memory that its program cannot read or write just now keeps its data, and its protection.
#include <setjmp.h>

#include "program.h"

static sigjmp_buf escape;

static bool faults(void (*access)(char*), char* at) {
  signal(SIGSEGV, [](int) { siglongjmp(escape, 1); });
  if (sigsetjmp(escape, 1)) return true;
  access(at);
  return false;
}

int main() {
  char* none = map_memory(4 * kPage);
  char* readonly = map_memory(4 * kPage);
  char* writeonly = map_memory(4 * kPage);
  char* code = map_memory(kPage);
  char* untouched = map_memory(4 * kPage, MAP_PRIVATE, PROT_NONE);
  for (int i = 0; i < 4; ++i) {
    fill_page(none + i * kPage, i);
    fill_page(readonly + i * kPage, 10 + i);
    fill_page(writeonly + i * kPage, 20 + i);
  }
  memcpy(code, "\xb8\x2a\x00\x00\x00\xc3", 6);  // mov $42, %eax; ret
  CHECK(mprotect(none, 4 * kPage, PROT_NONE) == 0 && mprotect(readonly, 4 * kPage, PROT_READ) == 0);
  CHECK(mprotect(writeonly, 4 * kPage, PROT_WRITE) == 0 && mprotect(code, kPage, PROT_READ | PROT_EXEC) == 0);
  ready();
  auto read = [](char* at) { (void)*static_cast<volatile char*>(at); };
  auto write = [](char* at) { *at = 1; };
  CHECK(faults(read, none) && faults(write, readonly) && faults(read, untouched) && faults(write, code));
  CHECK(reinterpret_cast<int (*)()>(code)() == 42);
  writeonly[5] = 'x';
  CHECK(mprotect(none, 4 * kPage, PROT_READ) == 0 && mprotect(writeonly, 4 * kPage, PROT_READ) == 0);
  for (int i = 0; i < 4; ++i) {
    CHECK(page_is(none + i * kPage, i) && page_is(readonly + i * kPage, 10 + i));
    CHECK(i == 0 ? writeonly[5] == 'x' : page_is(writeonly + i * kPage, 20 + i));
  }
  return 0;
}
