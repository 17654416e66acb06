// SPDX-License-Identifier: LGPL-2.1-or-later
// Seccomp filters: of the whole process, as systemd makes them, and others of one thread alone, one of them with a
// log entry for what it finds. By argument with no_new_privs, or without and as root.
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <thread>
#include <vector>

#include "program.h"

static void load(const std::vector<sock_filter>& code, unsigned flags) {
  sock_fprog program{static_cast<uint16_t>(code.size()), const_cast<sock_filter*>(code.data())};
  long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
  // A thread that has been joined may not have ended yet, and stand in the way of SECCOMP_FILTER_FLAG_TSYNC.
  for (int i = 0; i < 5000 && result > 0; ++i) {
    usleep(1000);
    result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
  }
  CHECK(result <= 0);
  if (result) skip("this kernel has no seccomp filters");
}
static void forbid(uint32_t number, uint32_t action, unsigned flags = 0) {
  load({BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)},
       flags);
}
// Whether a child lives through the call.
static bool survives(long number) {
  pid_t child = fork();
  if (child == 0) {
    syscall(number, 0, 0, 0);
    _exit(0);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child);
  return WIFEXITED(status);
}

static thread_local volatile sig_atomic_t trapped = 0;  // two threads check themselves at once
static volatile bool prepared = false, finish = false, second_checked = false, finish_second = false;

static void check_process() {
  CHECK(prctl(PR_GET_SECCOMP) == SECCOMP_MODE_FILTER);
  CHECK(syscall(SYS_acct, 0) == -1 && errno == ENOTTY);
  CHECK(socket(AF_INET, SOCK_STREAM, 0) == -1 && errno == EAFNOSUPPORT);
  int fds[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0 && close(fds[0]) == 0 && close(fds[1]) == 0);
  trapped = 0;
  syscall(SYS_swapoff, 0);
  CHECK(trapped == 1);
  CHECK(!survives(SYS_swapon));
  // What dumps call is denied, which harms nobody.
  CHECK(syscall(SYS_sigaltstack, 0, 0) == -1 && errno == ELOOP);
}

int main(int, char** arguments) {
  bool unprivileged = !strcmp(arguments[1], "unprivileged");
  if (unprivileged) CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  signal(SIGSYS, [](int) { trapped = trapped + 1; });
  forbid(SYS_acct, SECCOMP_RET_ERRNO | ENOTTY, SECCOMP_FILTER_FLAG_LOG);
  forbid(SYS_swapon, SECCOMP_RET_KILL_PROCESS);
  forbid(SYS_swapoff, SECCOMP_RET_TRAP);
  load({BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_UNIX, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAFNOSUPPORT), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)},
       0);
  forbid(SYS_sigaltstack, SECCOMP_RET_ERRNO | ELOOP);
  std::thread thread([] {
    forbid(SYS_getpgrp, SECCOMP_RET_ERRNO | EXDEV);
    prepared = true;
    while (!finish) usleep(1000);
    check_process();
    CHECK(syscall(SYS_getpgrp) == -1 && errno == EXDEV);
  });
  while (!prepared) usleep(1000);
  std::thread second([] {
    while (!finish) usleep(1000);
    check_process();
    CHECK(syscall(SYS_getpgrp) > 0);
    second_checked = true;
    while (!finish_second) usleep(1000);
    CHECK(syscall(SYS_getpgrp) == -1 && errno == EXDEV);
  });
  usleep(10'000);
  ready();
  CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == unprivileged);
  check_process();
  CHECK(syscall(SYS_getpgrp) > 0);
  finish = true;
  thread.join();
  // What the two have in common are the same filters to the kernel, or it would refuse this.
  while (!second_checked) usleep(1000);
  forbid(SYS_getpgrp, SECCOMP_RET_ERRNO | EXDEV, SECCOMP_FILTER_FLAG_TSYNC);
  finish_second = true;
  second.join();
  CHECK(syscall(SYS_getpgrp) == -1 && errno == EXDEV);
  return 0;
}
