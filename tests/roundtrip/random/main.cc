// SPDX-License-Identifier: LGPL-2.1-or-later
// random_program SEED: a tree of processes whose threads do what the plan of this seed says until they are told to
// end.
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <thread>

#include "actor.h"

namespace {

constexpr int kFilterSays = 1234;  // what acct(2) says under the filter
constexpr int kLeaversCode = 42;

struct World {
  const Plan& plan;
  std::vector<Pair> pairs;
  std::atomic<uint64_t>* hearts;  // their number, then they
  struct Board {
    std::atomic<unsigned> started;
    std::atomic<pid_t> pids[Plan::kProcesses];
  }* board;
};

void load_filter() {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_acct, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | kFilterSays),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog program{4, code};
  CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

void act(World& world, unsigned index) {
  const ActorPlan& plan = world.plan.actors[index];
  const ActorPlan* partner = nullptr;
  for (const auto& other : world.plan.actors)
    if (plan.pair >= 0 && other.pair == plan.pair && other.begins != plan.begins) partner = &other;
  Actor actor{.plan = plan,
              .index = index,
              .pids = world.board->pids,
              .partner = partner,
              .pair = plan.pair < 0 ? nullptr : &world.pairs[static_cast<size_t>(plan.pair)],
              .heart = &world.hearts[1 + index],
              .random = Random(plan.seed + plan.begins)};
  ++world.board->started;
  while (world.board->started < world.plan.actors.size()) usleep(500);
  plan.kind->act(actor);
}

// Every process waits for all its children: those of one that has left are the first process's.
void await_children(World& world) {
  int status;
  for (pid_t pid; (pid = wait(&status)) > 0;)
    for (size_t i = 0; i < world.plan.processes.size(); ++i)
      if (world.board->pids[i] == pid)
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == (world.plan.processes[i].leaves ? kLeaversCode : 0));
  CHECK(errno == ECHILD);
}

void live(World& world, unsigned process) {
  const ProcessPlan& plan = world.plan.processes[process];
  world.board->pids[process] = getpid();
  if (plan.session && process) CHECK(setsid() > 0);
  if (plan.group && process) CHECK(setpgid(0, 0) == 0);
  if (plan.nice) CHECK(setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + plan.nice) == 0);
  if (plan.filter) load_filter();
  int priority = getpriority(PRIO_PROCESS, 0);
  for (unsigned child = process + 1; child < world.plan.processes.size(); ++child)
    if (world.plan.processes[child].parent == process) {
      pid_t pid = fork();
      CHECK(pid >= 0);
      if (pid == 0) {
        live(world, child);
        _exit(0);
      }
    }
  if (plan.leaves) _exit(kLeaversCode);
  pid_t session = getsid(0), group = getpgrp();

  std::vector<std::thread> threads;
  for (unsigned i = 0; i < world.plan.actors.size(); ++i)
    if (world.plan.actors[i].process == process) threads.emplace_back(act, std::ref(world), i);
  if (process == 0) {
    while (world.board->started < world.plan.actors.size()) usleep(500);
    say_ready();
  }
  while (!told()) {
    if (plan.filter) CHECK(syscall(SYS_acct, nullptr) == -1 && errno == kFilterSays);
    CHECK(getpid() == world.board->pids[process] && getsid(0) == session && getpgrp() == group);
    CHECK(getpriority(PRIO_PROCESS, 0) == priority);
    usleep(5000);
  }
  for (auto& thread : threads) thread.join();
  await_children(world);
}

}  // namespace

int main(int count, char** arguments) {
  Plan plan(count > 1 ? strtoull(arguments[1], nullptr, 10) : 0);
  if (count > 2) {  // only to look at
    dprintf(STDOUT_FILENO, "%s", plan.text().c_str());
    return 0;
  }
  // Whoever takes a signal waits for it; what interrupts a call is then not a signal.
  sigset_t all;
  sigfillset(&all);
  CHECK(sigprocmask(SIG_BLOCK, &all, nullptr) == 0 && prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
  int fd = open("hearts", O_RDWR | O_CREAT | O_TRUNC, 0600);
  CHECK(fd >= 0 && ftruncate(fd, kPage) == 0);
  void* hearts = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(hearts != MAP_FAILED && close(fd) == 0);
  World world{.plan = plan,
              .pairs = {},
              .hearts = static_cast<std::atomic<uint64_t>*>(hearts),
              .board = reinterpret_cast<World::Board*>(map_memory(kPage, MAP_SHARED))};
  world.hearts[0] = plan.actors.size();
  for (const auto& actor : plan.actors)
    if (actor.begins) world.pairs.push_back(make_pair_for(actor, static_cast<unsigned>(actor.pair)));
  live(world, 0);
  return 0;
}
