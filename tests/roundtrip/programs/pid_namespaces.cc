// SPDX-License-Identifier: LGPL-2.1-or-later
// A PID namespace of its own, and in it all that has to do with PIDs; below it another one. Two children have come
// into it from outside, and somebody else has asked for one that nobody is in yet.
#include <sched.h>
#include <sys/prctl.h>

#include <thread>
#include <vector>

#include "program.h"

static int tell_first[2], tell_manager[2], tell_main[2];
static int* reports = tell_first;

static void report(int* to) { CHECK(write(to[1], "x", 1) == 1); }
static void await_told() {
  report(reports);
  wait_until_told();
}
static void await_reports(int* from, int count) {
  char byte;
  while (count--) CHECK(read(from[0], &byte, 1) == 1);
}
static void ends_well(pid_t child) {
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
}
static pid_t gettid_() { return static_cast<pid_t>(syscall(SYS_gettid)); }

// Its threads, timers and files know each other by the numbers inside.
static void numbers() {
  pid_t self = getpid(), parent = getppid(), group = getpgrp(), session = getsid(0);
  volatile bool finish = false;
  pid_t tids[2] = {};
  std::vector<std::thread> threads;
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigaddset(&set, SIGUSR2);
  CHECK(sigprocmask(SIG_BLOCK, &set, nullptr) == 0);
  for (pid_t& slot : tids)
    threads.emplace_back([&] {
      slot = gettid_();
      while (!finish) usleep(1000);
      CHECK(gettid_() == slot);
    });
  while (!tids[0] || !tids[1]) usleep(100);
  sigevent event{};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = SIGUSR2;
  event._sigev_un._tid = tids[1];
  timer_t timer, cpu;
  CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
  clockid_t clock;
  CHECK(clock_getcpuclockid(self, &clock) == 0);
  event.sigev_notify = SIGEV_NONE;
  CHECK(timer_create(clock, &event, &cpu) == 0);
  CHECK(sigqueue(self, SIGUSR1, {.sival_int = 42}) == 0);
  CHECK(syscall(SYS_tgkill, self, tids[0], SIGUSR1) == 0);
  int fds[2];
  CHECK(pipe(fds) == 0 && fcntl(fds[0], F_SETOWN, self) == 0);
  int pidfd = static_cast<int>(syscall(SYS_pidfd_open, self, 0));
  CHECK(pidfd >= 0);

  await_told();
  CHECK(getpid() == self && getppid() == parent && getpgrp() == group && getsid(0) == session);
  siginfo_t info;
  CHECK(sigwaitinfo(&set, &info) == SIGUSR1 && info.si_pid == self && info.si_value.sival_int == 42);
  CHECK(fcntl(fds[0], F_GETOWN) == self);
  CHECK(syscall(SYS_pidfd_send_signal, pidfd, SIGUSR1, nullptr, 0) == 0);
  CHECK(sigwaitinfo(&set, &info) == SIGUSR1 && info.si_pid == self);
  itimerspec soon{.it_interval = {}, .it_value = {0, 1}};
  CHECK(timer_settime(timer, 0, &soon, nullptr) == 0 && timer_settime(cpu, 0, &soon, nullptr) == 0);
  usleep(1000);
  CHECK(sigtimedwait(&set, &info, &soon.it_interval) == -1);  // the other thread's
  finish = true;
  for (auto& thread : threads) thread.join();
}

static void own_session() {
  CHECK(setsid() == getpid());
  numbers();
}
static void own_group() {
  CHECK(setpgid(0, 0) == 0);
  numbers();
}
static void leave_orphan() {
  fork_to([] {
    while (getppid() != 1) usleep(100);
    numbers();
  });
}
static void below() {
  CHECK(unshare(CLONE_NEWPID) == 0);
  pid_t first = fork_to([] {
    CHECK(getpid() == 1 && getppid() == 0 && getpgrp() == 0);
    pid_t child = fork_to(own_session);
    CHECK(child == 2);
    await_told();
    ends_well(child);
    CHECK(fork_to([] { CHECK(getppid() == 1); }) > child);
    while (wait(nullptr) > 0) continue;
  });
  pid_t self = getpid();
  await_told();
  CHECK(getpid() == self && kill(first, 0) == 0);
  ends_well(first);
}

static void first() {
  CHECK(getpid() == 1 && getppid() == 0 && getpgrp() == 0 && getsid(0) == 0);
  pid_t leader = fork_to(own_session), group = fork_to(own_group), parent = fork_to(leave_orphan),
        deeper = fork_to(below);
  ends_well(parent);
  pid_t zombie = fork_to([] { _exit(7); }), stopped = fork_to([] { await_told(); });
  siginfo_t info;
  CHECK(waitid(P_PID, static_cast<id_t>(zombie), &info, WEXITED | WNOWAIT) == 0);
  await_reports(tell_first, 1 + 1 + 1 + 3 + 1);
  CHECK(kill(stopped, SIGSTOP) == 0);
  CHECK(waitid(P_PID, static_cast<id_t>(stopped), &info, WSTOPPED | WNOWAIT) == 0 && info.si_pid == stopped);
  reports = tell_manager;
  numbers();
  CHECK(waitid(P_PID, static_cast<id_t>(stopped), &info, WSTOPPED | WNOHANG) == 0 && info.si_pid == stopped);
  CHECK(kill(stopped, SIGCONT) == 0);
  int status;
  CHECK(waitpid(zombie, &status, 0) == zombie && WEXITSTATUS(status) == 7);
  pid_t newcomer = fork_to([] { CHECK(getppid() == 1); });
  CHECK(newcomer > stopped);  // numbers go on, and are not used again at once
  for (pid_t child : {leader, group, deeper, stopped, newcomer}) ends_well(child);
  await_reports(tell_first, 1);             // from outside, since its end is that of all
  CHECK(wait(&status) > 0 && status == 0);  // the orphan, if its new parent is this one
  fork_to([] { pause(); });                 // ends with its namespace
}

static void from_outside() {
  CHECK(getpid() > 1 && getppid() == 0);
  reports = tell_manager;
  numbers();
}

// In a group that nobody inside can see.
static void manager() {
  CHECK(setpgid(0, 0) == 0);
  pid_t self = getpid();
  if (unshare(CLONE_NEWPID)) _exit(77);
  pid_t inner = fork_to(first);
  await_reports(tell_manager, 1);
  pid_t guests[2] = {fork_to(from_outside), fork_to([] {
                       CHECK(setsid() > 0);
                       from_outside();
                     })};
  await_reports(tell_manager, 2);
  report(tell_main);
  wait_until_told();
  CHECK(getpid() == self && kill(inner, 0) == 0);
  for (pid_t guest : guests) ends_well(guest);
  report(tell_first);
  ends_well(inner);
  CHECK(fork() == -1 && errno == ENOMEM);  // where its children were to be nobody can live any more
}

static void asks_only() {
  if (unshare(CLONE_NEWPID)) _exit(77);
  report(tell_main);
  wait_until_told();
  pid_t child = fork_to([] { CHECK(getpid() == 1 && getppid() == 0); });
  ends_well(child);
}

int main() {
  CHECK(pipe(tell_first) == 0 && pipe(tell_manager) == 0 && pipe(tell_main) == 0);
  pid_t children[] = {fork_to(manager), fork_to(asks_only)};
  close(tell_main[1]);
  char byte;
  for (int i = 0; i < 2; ++i)
    if (read(tell_main[0], &byte, 1) != 1) skip("no PID namespaces");
  ready();
  for (pid_t child : children) ends_well(child);
  return 0;
}
