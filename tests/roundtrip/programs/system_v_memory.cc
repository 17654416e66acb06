// SPDX-License-Identifier: LGPL-2.1-or-later
// System V shared memory: under a key, and one that goes when all have detached it; attached twice, to be read only,
// in part, and by a child; and one that nobody has attached. With the argument "own", in a namespace of its own.
#include <sched.h>
#include <sys/shm.h>

#include "program.h"

static char* attach(int id, int flags = 0) {
  void* at = shmat(id, nullptr, flags);
  CHECK(at != reinterpret_cast<void*>(-1));
  return static_cast<char*>(at);
}
static shmid_ds state(int id) {
  shmid_ds segment;
  CHECK(shmctl(id, IPC_STAT, &segment) == 0);
  return segment;
}

int main(int count, char** arguments) {
  bool own = count > 1 && !strcmp(arguments[1], "own");
  if (own && unshare(CLONE_NEWIPC)) skip("no IPC namespaces");
  // Whatever nobody alive has used is taken for that of every process of its maker; other tests run at the same time.
  CHECK(own || seteuid(54321) == 0);
  key_t key = 0x6b730000 + getpid() % 0xffff;
  size_t bytes = 8 * kPage - 100;
  int keyed = shmget(key, bytes, IPC_CREAT | IPC_EXCL | 0640), going = shmget(IPC_PRIVATE, 4 * kPage, 0600);
  int alone = shmget(IPC_PRIVATE, 3 * kPage, 0600);
  CHECK(own || seteuid(0) == 0);
  if (keyed < 0 || going < 0 || alone < 0) skip("no System V shared memory");
  shmid_ds set = state(keyed);
  set.shm_perm.uid = 1;
  set.shm_perm.gid = 2;
  CHECK(shmctl(keyed, IPC_SET, &set) == 0);
  char* absent = attach(alone);
  fill_page(absent + kPage, 77);
  CHECK(shmdt(absent) == 0);
  char* one = attach(keyed);
  char* reader = attach(keyed, SHM_RDONLY);
  char* part = attach(keyed);
  char* other = attach(going);
  CHECK(shmctl(going, IPC_RMID, nullptr) == 0);
  for (size_t i = 0; i < 7; i += 2) fill_page(one + i * kPage, i);
  fill_page(other + kPage, 50);
  CHECK(mprotect(one + 2 * kPage, kPage, PROT_READ) == 0);
  CHECK(munmap(part, 3 * kPage) == 0 && munmap(part + 5 * kPage, 3 * kPage) == 0);
  auto* stage = reinterpret_cast<int*>(map_memory(kPage, MAP_SHARED));
  pid_t child = fork();
  if (child == 0) {
    while (__atomic_load_n(stage, __ATOMIC_SEQ_CST) != 1) usleep(1000);
    fill_page(one + kPage, 99);
    fill_page(other, 98);
    CHECK(shmdt(one) == 0 || errno == EINVAL);
    _exit(0);
  }
  shmid_ds before = state(keyed), before_going = state(going);
  ready();
  shmid_ds after = state(keyed), after_going = state(going);
  CHECK(shmget(key, 0, 0) == keyed && after.shm_segsz == bytes);
  CHECK(after.shm_nattch == before.shm_nattch);
  CHECK(after.shm_perm.mode == before.shm_perm.mode && after.shm_perm.uid == 1 && after.shm_perm.gid == 2);
  CHECK(after.shm_perm.cuid == before.shm_perm.cuid && after.shm_perm.cgid == before.shm_perm.cgid);
  CHECK(after_going.shm_perm.mode == before_going.shm_perm.mode && after_going.shm_perm.mode & SHM_DEST);
  for (size_t i = 0; i < 7; ++i) CHECK(i % 2 ? page_is_zero(one + i * kPage) : page_is(one + i * kPage, i));
  CHECK(page_is(reader + 4 * kPage, 4) && page_is(part + 4 * kPage, 4) && page_is(other + kPage, 50));
  shmid_ds of_alone;
  CHECK(shmctl(alone, IPC_STAT, &of_alone) == 0 && of_alone.shm_nattch == 0);
  absent = attach(alone);
  CHECK(page_is(absent + kPage, 77) && page_is_zero(absent) && shmdt(absent) == 0);
  CHECK(shmctl(alone, IPC_RMID, nullptr) == 0);
  int status;
  __atomic_store_n(stage, 1, __ATOMIC_SEQ_CST);
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  CHECK(page_is(reader + kPage, 99) && page_is(other, 98));
  fill_page(part + 3 * kPage, 97);
  CHECK(page_is(one + 3 * kPage, 97));
  CHECK(mprotect(reader, kPage, PROT_READ | PROT_WRITE) < 0 && errno == EACCES);
  CHECK(shmdt(other) == 0 && shmctl(going, IPC_STAT, &after) < 0 && errno == EINVAL);
  CHECK(shmctl(keyed, IPC_RMID, nullptr) == 0 && shmdt(reader) == 0);
  return 0;
}
