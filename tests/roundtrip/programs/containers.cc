// SPDX-License-Identifier: LGPL-2.1-or-later
// A PID namespace that belongs to a user namespace of its own, as unprivileged containers have it. By argument:
// "unshare" (made by unshare(2), by one who is no root), "clone" (by clone(2)), "below" (the same below another user
// namespace), "joined" (others come into it from outside).
#include <grp.h>
#include <sched.h>
#include <sys/prctl.h>

#include <thread>
#include <vector>

#include "identity.h"
#include "program.h"

static int reports[2], news[2], news_below[2];

static void report(int* to) { CHECK(write(to[1], "x", 1) == 1); }
static void await(int* from, int count) {
  char byte;
  while (count--) CHECK(read(from[0], &byte, 1) == 1);
}
static void ends_well(pid_t child) {
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
}

// All that this process can tell of itself.
static std::string view() {
  char host[256] = {};
  CHECK(gethostname(host, sizeof host) == 0);
  std::string text = std::string(host) + " " + std::to_string(getpid()) + " " + std::to_string(getppid()) + " " +
                     std::to_string(getpgrp()) + " " + std::to_string(getsid(0));
  return text + identity();
}

static void live() {
  volatile bool finish = false;
  std::vector<std::thread> threads;
  auto stay = [&] {
    auto tid = syscall(SYS_gettid);
    std::string before = view();
    while (!finish) usleep(1000);
    CHECK(syscall(SYS_gettid) == tid && view() == before);
  };
  threads.emplace_back(stay);
  std::string before = view();
  usleep(10'000);
  report(reports);
  wait_until_told();
  CHECK(view() == before);
  finish = true;
  for (auto& thread : threads) thread.join();
  CHECK(view() == before);
}

// Its children live in a namespace of their own, and so will its next one.
static void has_others_below() {
  CHECK(unshare(CLONE_NEWPID) == 0);
  pid_t first = fork_to([] {
    CHECK(getpid() == 1);
    pid_t child = fork_to(live);
    report(reports);
    wait_until_told();
    ends_well(child);
    await(news_below, 1);
  });
  pid_t second = fork_to([] {
    CHECK(getppid() == 0);
    live();
  });
  report(reports);
  wait_until_told();
  pid_t third = fork_to([] { CHECK(getpid() > 3 && getppid() == 0); });
  for (pid_t child : {third, second}) ends_well(child);
  report(news_below);
  ends_well(first);
}

static void first() {
  CHECK(getpid() == 1 && getppid() == 0);
  CHECK(sethostname("container", 9) == 0);
  pid_t leader = fork_to([] {
    CHECK(setsid() == getpid());
    live();
  });
  pid_t other = fork_to([] {
    CHECK(setpgid(0, 0) == 0);
    if (syscall(SYS_setresgid, 7, 7, 7) == 0) CHECK(syscall(SYS_setresuid, 7, 7, 7) == 0);
    live();
  });
  pid_t between = fork_to([] {
    fork_to([] {
      while (getppid() != 1) usleep(100);
      live();
    });
  });
  ends_well(between);
  pid_t below = fork_to(has_others_below);
  pid_t zombie = fork_to([] { _exit(7); });
  siginfo_t info;
  CHECK(waitid(P_PID, static_cast<id_t>(zombie), &info, WEXITED | WNOWAIT) == 0);
  live();
  CHECK(getpid() == 1);
  for (pid_t child : {leader, other, below}) ends_well(child);
  int status;
  CHECK(waitpid(zombie, &status, 0) == zombie && WEXITSTATUS(status) == 7);
  pid_t last = fork_to([] { CHECK(getppid() == 1); });
  CHECK(last > zombie);
  ends_well(last);
  CHECK(wait(&status) > 0 && status == 0);  // the orphan
  await(news, 1);
}
constexpr int kInside = 1 + 1 + 1 + 4 + 1;

static void map_as(const std::string& proc, const std::string& users, const std::string& groups, bool deny) {
  if (deny) put(proc + "setgroups", "deny");
  put(proc + "uid_map", users);
  put(proc + "gid_map", groups);
}

// Returns the first process inside.
static pid_t by_unshare(const std::string& users, const std::string& groups) {
  CHECK(prctl(PR_SET_DUMPABLE, 1) == 0);
  if (unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC)) _exit(77);
  map_as("/proc/self/", users, groups, true);
  return fork_to(first);
}

static pid_t by_clone() {
  int mapped[2];
  CHECK(pipe(mapped) == 0);
  auto child = static_cast<pid_t>(syscall(
      SYS_clone, CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | SIGCHLD, nullptr, nullptr, nullptr, 0));
  if (child < 0) _exit(77);
  if (child == 0) {
    await(mapped, 1);
    CHECK(syscall(SYS_setresgid, 0, 0, 0) == 0 && syscall(SYS_setresuid, 0, 0, 0) == 0);
    gid_t groups[] = {3, 7};
    CHECK(setgroups(2, groups) == 0);
    first();
    _exit(0);
  }
  map_as("/proc/" + std::to_string(child) + "/", "0 100000 10", "0 200000 10", false);
  report(mapped);
  return child;
}

static void made_by(const std::string& how, int* to_main) {
  bool joined = how == "joined";
  pid_t child = 0;
  int guests = 0;
  pid_t guest[2] = {};
  if (how == "clone" || joined) {
    child = by_clone();
  } else {
    gid_t groups[] = {1234, 4242};
    CHECK(setgroups(2, groups) == 0 && setresgid(1234, 1234, 1234) == 0 && setresuid(1234, 1234, 1234) == 0);
    if (how == "below") {
      CHECK(prctl(PR_SET_DUMPABLE, 1) == 0);
      if (unshare(CLONE_NEWUSER)) _exit(77);
      map_as("/proc/self/", "5 1234 1", "6 1234 1", true);
      child = by_unshare("0 5 1", "0 6 1");
    } else {
      child = by_unshare("0 1234 1", "0 1234 1");
    }
  }
  await(reports, kInside);
  if (joined) {
    for (const char* space : {"pid", "uts"}) {
      int fd = open(("/proc/" + std::to_string(child) + "/ns/" + space).c_str(), O_RDONLY);
      CHECK(fd >= 0 && setns(fd, 0) == 0 && close(fd) == 0);
    }
    guest[guests++] = fork_to(live);  // which stays outside of the user namespace
    int user = open(("/proc/" + std::to_string(child) + "/ns/user").c_str(), O_RDONLY);
    guest[guests++] = fork_to([=] {
      CHECK(setns(user, 0) == 0 && close(user) == 0);
      live();
    });
    close(user);
    await(reports, guests);
  }
  pid_t self = getpid();
  std::string before = view();
  report(to_main);
  wait_until_told();
  CHECK(getpid() == self && view() == before && kill(child, 0) == 0);
  for (int i = 0; i < guests; ++i) ends_well(guest[i]);
  pid_t next = fork();
  if (next == 0) _exit(getppid() == 0 || how == "clone" ? 0 : 1);
  ends_well(next);
  report(news);
  ends_well(child);
}

int main(int, char** arguments) {
  int to_main[2];
  CHECK(pipe(reports) == 0 && pipe(news) == 0 && pipe(news_below) == 0 && pipe(to_main) == 0);
  pid_t maker = fork_to([&] { made_by(arguments[1], to_main); });
  close(to_main[1]);
  char byte;
  if (read(to_main[0], &byte, 1) != 1) skip("no user namespaces");
  ready();
  ends_well(maker);
  return 0;
}
