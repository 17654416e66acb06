// SPDX-License-Identifier: LGPL-2.1-or-later
// System V shared memory of huge pages: attached twice, once in part; made by another user and attached by nobody;
// and one for which no pages are reserved. With the argument "own", in a namespace of its own.
#include <linux/capability.h>
#include <sched.h>
#include <sys/shm.h>

#include "program.h"

// Twice what is needed: a namespace that has ended gives its pages back a moment later.
constexpr int kPages = 2 * (3 + 1 + 2), kLarge = 20;

static char* attach(int id) {
  void* at = shmat(id, nullptr, 0);
  CHECK(at != reinterpret_cast<void*>(-1));
  return static_cast<char*>(at);
}
static unsigned long attached(int id) {
  shmid_ds segment;
  CHECK(shmctl(id, IPC_STAT, &segment) == 0);
  return segment.shm_nattch;
}
static int make(key_t key, size_t pages, int flags = 0) {
  int id = shmget(key, pages * kHugePage - 100, IPC_CREAT | IPC_EXCL | SHM_HUGETLB | flags | 0640);
  if (id < 0) skip("no System V shared memory of huge pages");
  return id;
}
// Who is no longer root may lock memory nevertheless, which huge pages ask for.
static void allow_to_lock() {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct data[2];
  CHECK(syscall(SYS_capget, &header, data) == 0);
  data[0].effective |= 1u << CAP_IPC_LOCK;
  CHECK(syscall(SYS_capset, &header, data) == 0);
}

int main(int count, char** arguments) {
  bool own = count > 1 && !strcmp(arguments[1], "own");
  if (own && unshare(CLONE_NEWIPC)) skip("no IPC namespaces");
  reserve_huge_pages(kPages);
  key_t key = 0x6b740000 + getpid() % 0xffff;
  int keyed = make(key, 3), loose = make(IPC_PRIVATE, kLarge, SHM_NORESERVE);
  CHECK(own || seteuid(54321) == 0);
  allow_to_lock();
  int alone = make(IPC_PRIVATE, 2);
  char* absent = attach(alone);
  fill_page(absent + kHugePage + kPage, 77);
  CHECK(shmdt(absent) == 0);
  CHECK(own || seteuid(0) == 0);
  char *one = attach(keyed), *part = attach(keyed), *large = attach(loose);
  CHECK(munmap(part, kHugePage) == 0 && munmap(part + 2 * kHugePage, kHugePage) == 0);
  part += kHugePage;
  fill_page(one + kPage, 1);
  fill_page(part + 2 * kPage, 2);
  fill_page(large + 15 * kHugePage, 3);
  CHECK(shmctl(loose, IPC_RMID, nullptr) == 0);
  pid_t child = fork_to([&] {
    while (!page_is(one, 4)) usleep(1000);
    fill_page(one + 2 * kHugePage, 5);
  });
  CHECK(attached(keyed) == 4 && attached(loose) == 2);
  ready();
  CHECK(shmget(key, 0, 0) == keyed && attached(keyed) == 4 && attached(loose) == 2 && attached(alone) == 0);
  CHECK(page_is_zero(one) && page_is(one + kPage, 1) && page_is(one + kHugePage + 2 * kPage, 2));
  CHECK(page_is(part + 2 * kPage, 2) && page_is(large + 15 * kHugePage, 3));
  fill_page(part, 6);
  CHECK(page_is(one + kHugePage, 6));
  absent = attach(alone);
  CHECK(page_is(absent + kHugePage + kPage, 77) && page_is_zero(absent) && shmdt(absent) == 0);
  // Its last page is reserved for it.
  fill_page(one, 4);
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0 && page_is(one + 2 * kHugePage, 5));
  CHECK(shmctl(alone, IPC_RMID, nullptr) == 0 && shmctl(keyed, IPC_RMID, nullptr) == 0);
  CHECK(munmap(part, kHugePage) == 0 && shmdt(one) == 0 && shmdt(large) == 0);
  change_huge_pages(-kPages);
  return 0;
}
