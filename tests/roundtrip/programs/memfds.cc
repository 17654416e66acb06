// SPDX-License-Identifier: LGPL-2.1-or-later
// memfds: content and holes, position, mode, seals, and their names; open, mapped or both; shared with a child. With
// the argument "huge", of huge pages.
#include "program.h"

static char* map_of(int fd, size_t bytes, int protection, int kind = MAP_SHARED) {
  void* at = mmap(nullptr, bytes, protection, kind, fd, 0);
  CHECK(at != MAP_FAILED);
  return static_cast<char*>(at);
}

static int huge() {
  constexpr size_t kHuge = kHugePage;
  reserve_huge_pages(3);
  int fd = memfd_create("huge", MFD_HUGETLB | MFD_ALLOW_SEALING);
  if (fd < 0) skip("no memfd of huge pages");
  CHECK(ftruncate(fd, 3 * kHuge) == 0);
  void* at = mmap(nullptr, 3 * kHuge, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
  CHECK(at != MAP_FAILED);
  auto* shared = static_cast<char*>(at);
  fill_page(shared + kPage, 1);
  fill_page(shared + 2 * kHuge, 2);
  ready();
  CHECK(page_is_zero(shared) && page_is(shared + kPage, 1) && page_is(shared + 2 * kHuge, 2));
  char* again = map_of(fd, kHuge, PROT_READ);
  CHECK(page_is(again + kPage, 1) && fcntl(fd, F_ADD_SEALS, F_SEAL_GROW) == 0 && ftruncate(fd, 4 * kHuge) == -1);
  change_huge_pages(-3);
  return 0;
}

int main(int count, char** arguments) {
  if (count > 1 && strcmp(arguments[1], "huge") == 0) return huge();
  alignas(kPage) static char page[kPage];
  int plain = memfd_create("plain", 0);
  CHECK(plain >= 0 && ftruncate(plain, 5'000'000'123) == 0 && fchmod(plain, 0640) == 0);
  fill_page(page, 1);
  CHECK(pwrite(plain, page, kPage, 4'000'000'000) == kPage && lseek(plain, 77, SEEK_SET) == 77);
  int other = open("/proc/self/fd/3", O_RDONLY | O_APPEND);
  CHECK(plain == 3 && other >= 0 && lseek(other, 5, SEEK_SET) == 5);

  int sealed = memfd_create("with seals (deleted)", MFD_ALLOW_SEALING | MFD_CLOEXEC);
  CHECK(write(sealed, "unchangeable", 12) == 12);
  CHECK(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0);
  char* view = map_of(sealed, kPage, PROT_READ, MAP_PRIVATE);
  int limited = memfd_create("limited", MFD_ALLOW_SEALING);
  CHECK(ftruncate(limited, 2 * kPage) == 0);
  char* writable = map_of(limited, 2 * kPage, PROT_READ | PROT_WRITE);
  CHECK(fcntl(limited, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) == 0);

  int gone = memfd_create("mapped alone", 0);
  CHECK(ftruncate(gone, 3 * kPage) == 0);
  char* mapped = map_of(gone, 4 * kPage, PROT_READ | PROT_WRITE);  // the last page lies past its end
  char* own = map_of(gone, 3 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE);
  CHECK(close(gone) == 0);
  fill_page(mapped, 10);
  fill_page(mapped + kPage, 11);
  fill_page(own + kPage, 12);
  pid_t child = fork();
  if (child == 0) {
    while (!page_is(mapped + 2 * kPage, 13)) usleep(1000);
    CHECK(page_is(own + kPage, 12) && page_is(mapped + kPage, 11));
    _exit(0);
  }
  struct stat before, after;
  CHECK(fstat(plain, &before) == 0);
  ready();
  CHECK(fstat(plain, &after) == 0 && after.st_size == before.st_size && after.st_mode == before.st_mode);
  CHECK(after.st_blocks == before.st_blocks && after.st_mtim.tv_nsec == before.st_mtim.tv_nsec);
  CHECK(lseek(plain, 0, SEEK_CUR) == 77 && lseek(other, 0, SEEK_CUR) == 5 && fcntl(other, F_GETFL) & O_APPEND);
  memset(page, 0, kPage);
  CHECK(pread(other, page, kPage, 4'000'000'000) == kPage && page_is(page, 1));
  CHECK(pwrite(plain, "x", 1, 9) == 1 && pread(other, page, 1, 9) == 1 && page[0] == 'x');
  CHECK(fcntl(plain, F_GET_SEALS) == F_SEAL_SEAL && fcntl(plain, F_ADD_SEALS, F_SEAL_GROW) == -1);
  CHECK(fcntl(sealed, F_GET_SEALS) == (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL));
  CHECK(pwrite(sealed, "c", 1, 0) == -1 && errno == EPERM && strcmp(view, "unchangeable") == 0);
  CHECK(pread(sealed, page, kPage, 0) == 12 && memcmp(page, "unchangeable", 12) == 0);
  fill_page(writable, 5);
  CHECK(pread(limited, page, kPage, 0) == kPage && page_is(page, 5) && pwrite(limited, page, 1, 0) == -1);
  CHECK(page_is(mapped, 10) && page_is(mapped + kPage, 11) && page_is(own + kPage, 12));
  fill_page(mapped + 2 * kPage, 13);
  signal(SIGBUS, [](int) {
    int status;
    _exit(wait(&status) > 0 && status == 0 ? 0 : 1);
  });
  mapped[3 * kPage] = 1;
  failed("SIGBUS past the end", __FILE_NAME__, __LINE__);
}
