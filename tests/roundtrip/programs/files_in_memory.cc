// SPDX-License-Identifier: LGPL-2.1-or-later
// POSIX shared memory and other files on a tmpfs, which a new kernel does not have: under their paths, or deleted.
#include <string>

#include "program.h"

static const std::string kPlace = "/dev/shm/kernel-swap-test-" + std::to_string(getpid());

static char* map_of(int fd, size_t bytes, int protection) {
  void* at = mmap(nullptr, bytes, protection, MAP_SHARED, fd, 0);
  CHECK(at != MAP_FAILED);
  return static_cast<char*>(at);
}

int main() {
  std::string name = kPlace.substr(8);
  int object = shm_open((name + ".object").c_str(), O_RDWR | O_CREAT | O_EXCL, 0640);
  if (object < 0) skip("no POSIX shared memory");
  CHECK(ftruncate(object, 4 * kPage) == 0 && fchown(object, 12, 34) == 0);
  char* shared = map_of(object, 4 * kPage, PROT_READ | PROT_WRITE);
  fill_page(shared + kPage, 1);
  int reader = shm_open((name + ".object").c_str(), O_RDONLY, 0);
  int gone = shm_open((name + ".gone").c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
  CHECK(reader >= 0 && gone >= 0 && ftruncate(gone, kPage) == 0 && shm_unlink((name + ".gone").c_str()) == 0);
  char* secret = map_of(gone, kPage, PROT_READ | PROT_WRITE);
  fill_page(secret, 2);
  CHECK(mkdir(kPlace.c_str(), 0751) == 0 && mkdir((kPlace + "/deep").c_str(), 0700) == 0);
  CHECK(chown((kPlace + "/deep").c_str(), 56, 78) == 0);
  std::string state = kPlace + "/deep/state";
  int file = open(state.c_str(), O_RDWR | O_CREAT | O_APPEND, 0604);
  CHECK(write(file, "state", 5) == 5);
  int directory = open(kPlace.c_str(), O_RDONLY | O_DIRECTORY);
  int mapped_alone = open((kPlace + "/alone").c_str(), O_RDWR | O_CREAT, 0600);
  CHECK(ftruncate(mapped_alone, kPage) == 0);
  char* alone = map_of(mapped_alone, kPage, PROT_READ | PROT_WRITE);
  fill_page(alone, 3);
  CHECK(close(mapped_alone) == 0);
  struct stat before, after;
  CHECK(fstat(file, &before) == 0);
  ready();
  CHECK(page_is(shared + kPage, 1) && page_is_zero(shared) && page_is(secret, 2) && page_is(alone, 3));
  int again = shm_open((name + ".object").c_str(), O_RDWR, 0);
  CHECK(again >= 0 && fstat(again, &after) == 0 && after.st_uid == 12 && after.st_gid == 34 &&
        (after.st_mode & 0777) == 0640);
  fill_page(shared + 2 * kPage, 4);
  alignas(kPage) static char page[kPage];
  CHECK(pread(again, page, kPage, 2 * kPage) == kPage && page_is(page, 4));
  CHECK(pread(reader, page, kPage, kPage) == kPage && page_is(page, 1) && pwrite(reader, page, 1, 0) == -1);
  CHECK(shm_open((name + ".gone").c_str(), O_RDWR, 0) == -1 && pread(gone, page, kPage, 0) == kPage &&
        page_is(page, 2));
  CHECK(stat(state.c_str(), &after) == 0 && after.st_size == 5 && after.st_mode == before.st_mode);
  CHECK(memcmp(&after.st_mtim, &before.st_mtim, sizeof(timespec)) == 0 && lseek(file, 0, SEEK_CUR) == 5);
  CHECK(write(file, "+", 1) == 1 && stat(state.c_str(), &after) == 0 && after.st_size == 6);
  CHECK(stat((kPlace + "/deep").c_str(), &after) == 0 && (after.st_mode & 07777) == 0700 && after.st_uid == 56);
  CHECK(fstat(directory, &after) == 0 && (after.st_mode & 07777) == 0751 &&
        faccessat(directory, "deep", F_OK, 0) == 0);
  CHECK(unlink(state.c_str()) == 0 && rmdir((kPlace + "/deep").c_str()) == 0 &&
        unlink((kPlace + "/alone").c_str()) == 0);
  CHECK(rmdir(kPlace.c_str()) == 0 && shm_unlink((name + ".object").c_str()) == 0);
  return 0;
}
