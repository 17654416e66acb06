// SPDX-License-Identifier: LGPL-2.1-or-later
// A shared mapping of a file on disk: what is written to either shows in the other.
#include "program.h"

int main() {
  int fd = open("shared", O_RDWR | O_CREAT | O_TRUNC, 0600);
  CHECK(fd >= 0 && ftruncate(fd, 4 * kPage) == 0);
  char* at = static_cast<char*>(mmap(nullptr, 4 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  char* readonly = static_cast<char*>(mmap(nullptr, 4 * kPage, PROT_READ, MAP_SHARED, fd, 0));
  CHECK(at != MAP_FAILED && readonly != MAP_FAILED);
  close(fd);
  fill_page(at + kPage, 1);
  ready();
  CHECK(page_is(at + kPage, 1) && page_is(readonly + kPage, 1));
  fill_page(at + 2 * kPage, 2);
  CHECK(page_is(readonly + 2 * kPage, 2));
  alignas(kPage) static char page[kPage];
  fd = open("shared", O_RDWR);
  CHECK(fd >= 0 && pread(fd, page, kPage, 2 * kPage) == kPage && page_is(page, 2));
  fill_page(page, 3);
  CHECK(pwrite(fd, page, kPage, 3 * kPage) == kPage && page_is(at + 3 * kPage, 3));
  return 0;
}
