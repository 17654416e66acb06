// SPDX-License-Identifier: LGPL-2.1-or-later
// Processes that share memory and are not threads: two with stacks of their own, and a fork of one of them. By
// argument they are parent and child, siblings whose parent has other memory, or orphans of one that has ended; and
// they share signal handlers, descriptors and directories too, or not; or the child has been stopped, they have
// locked all their memory, they have attached System V shared memory, they are in a user namespace, the child in a
// PID namespace, or they are of different users and have settings that belong to their memory.
#include <asm/prctl.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/shm.h>

#include <thread>

#include "program.h"

static constexpr size_t kStack = 65536;

static int flags = CLONE_VM;
static volatile int turn = 0, settled = 0;  // in the memory that is shared
static pid_t cleared = 0;                   // by the kernel at the end of the second one (set_tid_address(2))
static char* volatile mapped = nullptr;     // when all is told
static bool has_settings = false;
static pid_t copy = 0;     // a fork of the second one
static uint64_t mark = 0;  // to which its register GS points

// They have one TLS, which libc's own sleeps would use.
static void rest() {
  timespec time{0, kMillisecond};
  syscall(SYS_nanosleep, &time, nullptr);
}
static void await(int wanted) {
  while (turn != wanted) rest();
}
static void await_told() {
  while (!told()) rest();
}
static bool catches(int signal) {
  struct sigaction action;
  CHECK(sigaction(signal, nullptr, &action) == 0);
  return action.sa_handler != SIG_DFL;
}

// Settings of memory, but for the first, which the kernel makes the same for all who share it.
static constexpr int kSetMdwe = 65, kGetMdwe = 66;
static void set() {
  put("/proc/self/oom_score_adj", "7");
  put("/proc/self/coredump_filter", "0x11");
  CHECK(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0);
  CHECK(prctl(kSetMdwe, 1, 0, 0, 0) == 0 || errno == EINVAL);
  CHECK(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0);
}
static int settings() {
  int mdwe = prctl(kGetMdwe, 0, 0, 0, 0);
  CHECK(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0);
  return prctl(PR_GET_DUMPABLE) | prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) << 1 | (mdwe > 0) << 2;
}

static int live_as_thread(void*) {
  await(2);
  turn = 3;
  for (;;) syscall(SYS_exit, 0);
}

static int live_as_second(void*) {
  static char alternate[kStack];
  stack_t stack{.ss_sp = alternate, .ss_flags = 0, .ss_size = sizeof alternate}, now;
  CHECK(sigaltstack(&stack, nullptr) == 0 && prctl(PR_SET_NAME, "second") == 0);
  sigset_t usr2, mask;
  sigemptyset(&usr2);
  sigaddset(&usr2, SIGUSR2);
  CHECK(sigprocmask(SIG_BLOCK, &usr2, nullptr) == 0);
  CHECK(raise(SIGUSR2) == 0);  // waits for this one
  CHECK(syscall(SYS_arch_prctl, ARCH_SET_GS, &mark) == 0);
  uint64_t robust[3] = {};
  CHECK(syscall(SYS_set_robust_list, robust, sizeof robust) == 0);
  fill_page(mapped, 1);
  copy = fork_to([] {
    await_told();
    CHECK(page_is(mapped, 1) && turn == 0);
  });
  fill_page(mapped, 2);
  constexpr int kThread = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
  CHECK(clone(live_as_thread, map_memory(kStack) + kStack, kThread, nullptr) > 0);
  if (has_settings) CHECK(syscall(SYS_setresuid, 1234, 1234, 1234) == 0 && prctl(PR_GET_DUMPABLE) != 1);
  pid_t self = getpid();
  settled = 1;
  await_told();

  await(1);
  uint64_t base, *list;
  size_t size;
  CHECK(syscall(SYS_arch_prctl, ARCH_GET_GS, &base) == 0 && base == reinterpret_cast<uint64_t>(&mark));
  CHECK(sigaltstack(nullptr, &now) == 0 && now.ss_sp == alternate && now.ss_size == sizeof alternate);
  CHECK(sigprocmask(SIG_SETMASK, nullptr, &mask) == 0 && sigismember(&mask, SIGUSR2) == 1);
  CHECK(sigpending(&mask) == 0 && sigismember(&mask, SIGUSR2) == 1);
  CHECK(syscall(SYS_get_robust_list, 0, &list, &size) == 0 && list == robust);
  CHECK(page_is(mapped, 3) && catches(SIGUSR1) == bool(flags & CLONE_SIGHAND) && catches(SIGCHLD));
  CHECK((fcntl(100, F_GETFD) >= 0) == bool(flags & CLONE_FILES));
  CHECK(getpid() == self && (self == 1) == bool(flags & CLONE_NEWPID));
  mapped = map_memory(kPage);
  fill_page(mapped, 4);
  turn = 2;
  await(3);
  int status;
  CHECK(waitpid(copy, &status, 0) == copy && status == 0);
  _exit(0);
}

// The other of the two.
static void live_as_first() {
  CHECK(!catches(SIGUSR1) && catches(SIGCHLD));
  sigset_t none, pending;
  CHECK(sigprocmask(SIG_SETMASK, nullptr, &none) == 0 && sigismember(&none, SIGUSR2) == 0);
  CHECK(sigpending(&pending) == 0 && sigismember(&pending, SIGUSR2) == 0);
  CHECK(page_is(mapped, 2) && signal(SIGUSR1, [](int) {}) == SIG_DFL);
  CHECK(dup2(STDOUT_FILENO, 100) == 100);
  fill_page(mapped, 3);
  turn = 1;
  await(3);
  CHECK(page_is(mapped, 4));
}

static pid_t make_second(int with) {
  mapped = map_memory(kPage);
  char* stack = map_memory(kStack);
  int made = clone(live_as_second, stack + kStack, flags | with | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD,
                   nullptr, nullptr, nullptr, &cleared);
  CHECK(made > 0);
  while (!settled) rest();
  return made;
}
static void reap(pid_t child) {
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
}

int main(int count, char** arguments) {
  std::string shape = arguments[1];
  bool stopped = false;
  int segment = -1;
  for (int i = 2; i < count; ++i) {
    std::string word = arguments[i];
    if (word == "handlers") flags |= CLONE_SIGHAND;
    if (word == "descriptors") flags |= CLONE_FILES | CLONE_FS;
    if (word == "stopped") stopped = true;
    if (word == "settings") has_settings = true;
    if (word == "pid") flags |= CLONE_NEWPID;
    if (word == "locked" && mlockall(MCL_CURRENT | MCL_FUTURE)) skip("memory cannot be locked");
    if (word == "segment") {
      if (unshare(CLONE_NEWIPC)) skip("no IPC namespaces");
      segment = shmget(IPC_PRIVATE, kPage, 0600);
      CHECK(segment >= 0 && shmat(segment, nullptr, 0) != reinterpret_cast<void*>(-1));
    }
    if (word == "user") {
      if (unshare(CLONE_NEWUSER)) skip("no user namespaces");
      put("/proc/self/uid_map", "0 0 1");
    }
  }
  CHECK(signal(SIGCHLD, [](int) {}) == SIG_DFL);
  if (shape == "child") {
    volatile bool finish = false;
    std::thread idle([&] {
      while (!finish) rest();
    });
    if (has_settings) set();
    pid_t second = make_second(0);
    if (has_settings) CHECK(prctl(PR_SET_DUMPABLE, 1) == 0);
    int before = has_settings ? settings() : 0, status;
    if (stopped) CHECK(kill(second, SIGSTOP) == 0 && waitpid(second, &status, WUNTRACED) == second);
    say_ready();
    await_told();
    if (stopped) CHECK(waitpid(second, &status, WUNTRACED | WNOHANG) == 0 && kill(second, SIGCONT) == 0);
    CHECK(!has_settings || settings() == before);
    live_as_first();
    reap(second);
    CHECK(cleared == 0);
    shmid_ds facts;
    CHECK(segment < 0 || (shmctl(segment, IPC_STAT, &facts) == 0 && facts.shm_nattch == 1));
    finish = true;
    idle.join();
    return 0;
  }
  // Two whose parent has other memory.
  struct Shared {
    volatile int first, second;
  };
  auto* children = reinterpret_cast<Shared*>(map_memory(kPage, MAP_SHARED));
  auto first = [=] {
    children->first = getpid();
    await_told();
    live_as_first();
    while (cleared) rest();  // the second one has ended
    _exit(0);
  };
  if (shape == "siblings") {
    fork_to([=] {
      children->second = make_second(CLONE_PARENT);
      first();
    });
  } else {
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    reap(fork_to([=] {
      CHECK(setsid() > 0);
      children->second = make_second(0);
      CHECK(clone(
                [](void* run) {
                  (*static_cast<decltype(&first)>(run))();
                  return 0;
                },
                map_memory(kStack) + kStack, flags | SIGCHLD,
                const_cast<void*>(static_cast<const void*>(&first))) > 0);
      while (!children->first) rest();
      _exit(0);
    }));
  }
  while (!children->first || !children->second) rest();
  ready();
  reap(children->second);
  reap(children->first);
  CHECK(turn == 0);
  return 0;
}
