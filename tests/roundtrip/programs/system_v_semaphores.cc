// SPDX-License-Identifier: LGPL-2.1-or-later
// System V semaphores: values, who used them last, what the end of a process takes back (SEM_UNDO), and who waits for
// them. With the argument "own", in a namespace of its own.
#include <sched.h>
#include <sys/sem.h>

#include <thread>

#include "program.h"

static constexpr int kCount = 150;
static int keyed, fresh;

static void operate(int set, unsigned short number, int by, int flags = 0) {
  sembuf operation{number, static_cast<short>(by), static_cast<short>(flags)};
  CHECK(semop(set, &operation, 1) == 0);
}
static int value(int set, int number) { return semctl(set, number, GETVAL); }
static semid_ds state(int set) {
  semid_ds facts;
  CHECK(semctl(set, 0, IPC_STAT, &facts) == 0);
  return facts;
}
static void wait_for_waiters(int number, int count) {
  while (semctl(keyed, number, GETNCNT) + semctl(keyed, number, GETZCNT) != count) usleep(1000);
}

static void work(key_t key) {
  for (unsigned short i = 0; i < kCount - 50; ++i) operate(keyed, i, i * 300 + 100);
  operate(keyed, 3, -5, SEM_UNDO);
  operate(keyed, 4, 9, SEM_UNDO);
  operate(keyed, 99, 32767 - 29800, SEM_UNDO);
  operate(keyed, 99, -32767, 0);
  operate(keyed, 98, -29500, SEM_UNDO);
  operate(keyed, 98, 32767, 0);

  pid_t child = fork();
  if (child == 0) {
    operate(keyed, 3, -2, SEM_UNDO);
    operate(keyed, 120, 20, SEM_UNDO);
    operate(keyed, 121, 3, 0);
    operate(keyed, 121, -1, SEM_UNDO);
    wait_until_told();
    CHECK(value(keyed, 3) == 993);
    operate(keyed, 120, -1, SEM_UNDO);
    CHECK(value(keyed, 120) == 19);
    operate(keyed, 149, 1);  // its signal
    for (;;) pause();
  }
  while (value(keyed, 121) != 2) usleep(1000);
  static int woken = 0;
  std::thread waiter([] {
    operate(keyed, 130, -2, SEM_UNDO);
    ++woken;
  });
  std::thread zero_waiter([] {
    sembuf operation{1, 0, 0};
    timespec limit{1000, 0};
    CHECK(semtimedop(keyed, &operation, 1, &limit) == 0);
    ++woken;
  });
  wait_for_waiters(130, 1);
  wait_for_waiters(1, 1);
  int before[kCount], users[kCount];
  for (int i = 0; i < kCount; ++i) {
    before[i] = value(keyed, i);
    users[i] = semctl(keyed, i, GETPID);
  }
  semid_ds was = state(keyed);
  ready();
  CHECK(woken == 0);
  semid_ds is = state(keyed);
  CHECK(semget(key, 0, 0) == keyed && is.sem_nsems == kCount && is.sem_otime);
  CHECK(is.sem_perm.mode == was.sem_perm.mode && is.sem_perm.uid == 1 && is.sem_perm.gid == 2);
  CHECK(is.sem_perm.cuid == was.sem_perm.cuid && is.sem_perm.cgid == was.sem_perm.cgid);
  CHECK(state(fresh).sem_otime == 0 && value(fresh, 0) == 0 && value(fresh, 1) == 7);
  CHECK(semctl(fresh, 1, GETPID) == getpid() && semctl(fresh, 0, GETPID) == 0);
  for (int i = 0; i < kCount; ++i) {
    bool is_child_at_it = i == 120 || i == 149;
    if (!is_child_at_it) CHECK(value(keyed, i) == before[i] && semctl(keyed, i, GETPID) == users[i]);
  }
  operate(keyed, 149, -1);
  CHECK(kill(child, SIGKILL) == 0 && waitpid(child, nullptr, 0) == child);
  CHECK(value(keyed, 3) == 995 && value(keyed, 120) == 0 && value(keyed, 121) == 3);
  CHECK(semctl(keyed, 121, GETPID) == child);
  wait_for_waiters(130, 1);
  operate(keyed, 130, 5);
  CHECK(semctl(keyed, 1, SETVAL, 0) == 0);
  waiter.join();
  zero_waiter.join();
  CHECK(value(keyed, 130) == 3);

  exit(0);
}

int main(int count, char** arguments) {
  bool own = count > 1 && !strcmp(arguments[1], "own");
  if (own && unshare(CLONE_NEWIPC)) skip("no IPC namespaces");
  // Whatever nobody alive has used is taken for that of every process of its maker; other tests run at the same time.
  CHECK(own || seteuid(54321) == 0);
  key_t key = 0x6b740000 + getpid() % 0xffff;
  keyed = semget(key, kCount, IPC_CREAT | IPC_EXCL | 0640);
  fresh = semget(IPC_PRIVATE, 2, 0600);
  CHECK(own || seteuid(0) == 0);
  if (keyed < 0 || fresh < 0) skip("no System V semaphores");
  semid_ds set = state(keyed);
  set.sem_perm.uid = 1;
  set.sem_perm.gid = 2;
  CHECK(semctl(keyed, 0, IPC_SET, &set) == 0);
  pid_t worker = fork();
  if (worker == 0) {
    CHECK(semctl(fresh, 1, SETVAL, 7) == 0);
    work(key);
  }
  int status;
  CHECK(waitpid(worker, &status, 0) == worker);
  bool well = value(keyed, 3) == 1000 && value(keyed, 4) == 1300 && value(keyed, 99) == 0 &&
              value(keyed, 98) == 32767 && value(keyed, 130) == 5;
  CHECK(semctl(keyed, 0, IPC_RMID) == 0 && semctl(fresh, 0, IPC_RMID) == 0);
  CHECK(status == 0 && well);
  return 0;
}
