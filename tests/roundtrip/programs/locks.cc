// SPDX-License-Identifier: LGPL-2.1-or-later
// File locks of every kind, leases, and who is signalled by a file.
#include <sys/file.h>
#include <sys/ioctl.h>

#include "program.h"

static int make(const char* name) {
  int fd = open(name, O_RDWR | O_CREAT, 0600);
  CHECK(fd >= 0 && ftruncate(fd, 100) == 0);
  return fd;
}
static struct flock range(short type, off_t start, off_t length) {
  struct flock lock{};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = start;
  lock.l_len = length;
  return lock;
}
static void set(int fd, int call, struct flock lock) { CHECK(fcntl(fd, call, &lock) == 0); }
// Who stands in the way of a lock, 0 if nobody.
static pid_t obstacle(int fd, short type, off_t start, off_t length) {
  struct flock lock = range(type, start, length);
  CHECK(fcntl(fd, F_GETLK, &lock) == 0);
  return lock.l_type == F_UNLCK ? 0 : lock.l_pid;
}
static volatile sig_atomic_t arrived = 0;

int main() {
  int records = make("records"), descriptions = make("descriptions"), whole = make("whole"), shared = make("shared");
  set(records, F_SETLK, range(F_WRLCK, 2, 3));
  set(records, F_SETLK, range(F_RDLCK, 50, 0));
  set(descriptions, F_OFD_SETLK, range(F_WRLCK, 10, 10));
  CHECK(flock(whole, LOCK_EX) == 0 && flock(shared, LOCK_SH) == 0);
  close(make("leased"));
  int leased = open("leased", O_RDONLY);
  CHECK(fcntl(leased, F_SETLEASE, F_RDLCK) == 0 && fcntl(leased, F_SETSIG, SIGUSR2) == 0);

  int owned[2], group[2], foreign[2];
  CHECK(pipe(owned) == 0 && pipe(group) == 0 && pipe(foreign) == 0);
  struct sigaction action{};
  action.sa_sigaction = [](int, siginfo_t* info, void*) { arrived = info->si_fd; };
  action.sa_flags = SA_SIGINFO;
  CHECK(sigaction(SIGRTMIN, &action, nullptr) == 0 && sigaction(SIGUSR2, &action, nullptr) == 0);
  CHECK(fcntl(owned[0], F_SETOWN, getpid()) == 0 && fcntl(owned[0], F_SETSIG, SIGRTMIN) == 0);
  CHECK(fcntl(owned[0], F_SETFL, O_ASYNC | O_NONBLOCK) == 0);
  CHECK(fcntl(group[0], F_SETOWN, -getpgrp()) == 0);
  f_owner_ex thread{F_OWNER_TID, static_cast<pid_t>(syscall(SYS_gettid))};
  CHECK(fcntl(group[1], F_SETOWN_EX, &thread) == 0);

  pid_t child = fork();
  if (child == 0) {
    set(records, F_SETLK, range(F_WRLCK, 20, 5));  // through the same open file, and its own
    CHECK(setresuid(1000, 1001, 0) == 0 && fcntl(foreign[0], F_SETOWN, getpid()) == 0 && setresuid(0, 0, 0) == 0);
    close(shared);
    wait_until_told();
    CHECK(obstacle(records, F_WRLCK, 0, 10) == getppid() && obstacle(records, F_RDLCK, 60, 1) == 0);
    struct flock waits = range(F_WRLCK, 2, 1);
    CHECK(fcntl(open("records", O_RDWR), F_SETLKW, &waits) == 0);
    _exit(0);
  }
  while (obstacle(records, F_WRLCK, 20, 5) != child || fcntl(foreign[0], F_GETOWN) != child) usleep(1000);
  usleep(2000);
  ready();
  int other = open("descriptions", O_RDWR), uids[2];
  CHECK(obstacle(records, F_WRLCK, 20, 5) == child && obstacle(other, F_WRLCK, 15, 1) == -1 &&
        obstacle(other, F_WRLCK, 20, 1) == 0);
  CHECK(flock(open("whole", O_RDONLY), LOCK_SH | LOCK_NB) == -1 && errno == EWOULDBLOCK);
  CHECK(flock(open("shared", O_RDONLY), LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK);
  CHECK(flock(open("shared", O_RDONLY), LOCK_SH | LOCK_NB) == 0);
  CHECK(fcntl(leased, F_GETLEASE) == F_RDLCK && fcntl(leased, F_GETOWN) == getpid());
  CHECK(open("leased", O_WRONLY | O_NONBLOCK) == -1 && errno == EWOULDBLOCK && arrived == leased);
  CHECK(fcntl(leased, F_SETLEASE, F_UNLCK) == 0);

  CHECK(fcntl(owned[0], F_GETFL) == (O_ASYNC | O_NONBLOCK) && write(owned[1], "x", 1) == 1 && arrived == owned[0]);
  f_owner_ex owner;
  CHECK(fcntl(group[0], F_GETOWN_EX, &owner) == 0 && owner.type == F_OWNER_PGRP && owner.pid == getpgrp());
  CHECK(fcntl(group[1], F_GETOWN_EX, &owner) == 0 && owner.type == F_OWNER_TID && owner.pid == thread.pid);
  CHECK(fcntl(foreign[0], F_GETOWN) == child && fcntl(foreign[0], 17, uids) == 0 && uids[0] == 1000 &&
        uids[1] == 1001);
  usleep(20'000);
  CHECK(waitpid(child, nullptr, WNOHANG) == 0);
  set(records, F_SETLK, range(F_UNLCK, 2, 3));
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  return 0;
}
