// SPDX-License-Identifier: LGPL-2.1-or-later
// Named semaphores (sem_open(3)), which are files in memory that get their name after they have been opened and
// mapped under another one: one that others can still open, one whose name is gone, and who waits for it. And a file
// that had no name at first.
#include <semaphore.h>

#include "program.h"

static int value_of(sem_t* semaphore) {
  int value = -1;
  CHECK(sem_getvalue(semaphore, &value) == 0);
  return value;
}

int main() {
  std::string name = "/kernel-swap-test-" + std::to_string(getpid()), gone = name + "-gone";
  sem_t* kept = sem_open(name.c_str(), O_CREAT | O_EXCL, 0640, 3);
  if (kept == SEM_FAILED) skip("no named semaphores");
  sem_t* secret = sem_open(gone.c_str(), O_CREAT | O_EXCL, 0600, 0);
  CHECK(secret != SEM_FAILED && sem_unlink(gone.c_str()) == 0);
  std::string linked = "/dev/shm" + name + "-linked";
  int late = open("/dev/shm", O_TMPFILE | O_RDWR, 0604);
  CHECK(late >= 0 && ftruncate(late, kPage) == 0);
  void* mapped = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, late, 0);
  CHECK(mapped != MAP_FAILED);
  auto* content = static_cast<char*>(mapped);
  fill_page(content, 7);
  CHECK(linkat(AT_FDCWD, ("/proc/self/fd/" + std::to_string(late)).c_str(), AT_FDCWD, linked.c_str(),
               AT_SYMLINK_FOLLOW) == 0 &&
        close(late) == 0);
  pid_t child = fork_to([&] {
    CHECK(sem_wait(secret) == 0);
    CHECK(sem_post(kept) == 0);
  });
  ready();
  CHECK(value_of(kept) == 3 && value_of(secret) == 0);
  sem_t* again = sem_open(name.c_str(), 0);
  CHECK(again != SEM_FAILED && sem_wait(again) == 0 && value_of(kept) == 2);
  CHECK(sem_open(gone.c_str(), 0) == SEM_FAILED && errno == ENOENT);
  int status;
  CHECK(sem_post(secret) == 0 && waitpid(child, &status, 0) == child && status == 0 && value_of(again) == 3);
  struct stat facts;
  CHECK(stat(("/dev/shm/sem." + name.substr(1)).c_str(), &facts) == 0 && (facts.st_mode & 07777) == 0640);
  int by_name = open(linked.c_str(), O_RDWR);
  CHECK(by_name >= 0 && fstat(by_name, &facts) == 0 && (facts.st_mode & 07777) == 0604 && page_is(content, 7));
  char changed = static_cast<char>(content[5] + 1);
  CHECK(pwrite(by_name, &changed, 1, 5) == 1 && content[5] == changed);
  CHECK(sem_unlink(name.c_str()) == 0 && unlink(linked.c_str()) == 0);
  return 0;
}
