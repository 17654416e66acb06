// SPDX-License-Identifier: LGPL-2.1-or-later
// A private mapping of a file: written pages are ours, the others are the file's, also those changed later.
#include "program.h"

int main() {
  int fd = open("mapped", O_RDWR | O_CREAT | O_TRUNC, 0600);
  CHECK(fd >= 0);
  alignas(kPage) static char page[kPage];
  for (int i = 0; i < 6; ++i) {
    fill_page(page, i);
    CHECK(pwrite(fd, page, kPage, i * kPage) == kPage);
  }
  close(fd);
  fd = open("mapped", O_RDONLY);
  // The file ends within the mapping, and the mapping does not begin with the file.
  char* at = static_cast<char*>(mmap(nullptr, 8 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, kPage));
  char* readonly = static_cast<char*>(mmap(nullptr, 6 * kPage, PROT_READ, MAP_PRIVATE, fd, 0));
  CHECK(at != MAP_FAILED && readonly != MAP_FAILED);
  close(fd);
  fill_page(at + 1 * kPage, 100);
  fill_page(at + 3 * kPage, 101);
  CHECK(mprotect(at + 3 * kPage, kPage, PROT_NONE) == 0);
  ready();
  CHECK(mprotect(at + 3 * kPage, kPage, PROT_READ) == 0);
  CHECK(page_is(at, 1) && page_is(at + 1 * kPage, 100) && page_is(at + 2 * kPage, 3) && page_is(at + 3 * kPage, 101));
  for (int i = 0; i < 6; ++i) CHECK(page_is(readonly + i * kPage, i));
  return 0;
}
