// SPDX-License-Identifier: LGPL-2.1-or-later
// Huge pages of hugetlbfs: private and shared with a child, written and not.
#include "program.h"

int main() {
  reserve_huge_pages(8);
  void* first =
      mmap(nullptr, 3 * kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
  void* second =
      mmap(nullptr, 2 * kHugePage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
  if (first == MAP_FAILED || second == MAP_FAILED) skip("no huge pages");
  char *own = static_cast<char*>(first), *shared = static_cast<char*>(second);
  fill_page(own + kPage, 1);
  fill_page(own + 2 * kHugePage, 2);
  fill_page(shared + kHugePage + kPage, 3);
  pid_t child = fork();
  if (child == 0) {
    CHECK(munmap(own, 3 * kHugePage) == 0);
    while (!page_is(shared, 4)) usleep(1000);
    fill_page(shared + kPage, 5);
    _exit(0);
  }
  ready();
  CHECK(page_is(own + kPage, 1) && page_is_zero(own) && page_is(own + 2 * kHugePage, 2) &&
        page_is_zero(own + kHugePage));
  CHECK(page_is(shared + kHugePage + kPage, 3));
  fill_page(shared, 4);
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0 && page_is(shared + kPage, 5));
  change_huge_pages(-8);
  return 0;
}
