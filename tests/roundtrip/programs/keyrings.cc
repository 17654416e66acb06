// SPDX-License-Identifier: LGPL-2.1-or-later
// A session keyring as systemd gives it to a service: of the service's user, with the ID of the invocation, shared by
// all processes and threads. "untold": a filter ends who is asked for its keyrings.
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

#include <string>
#include <thread>

#include "program.h"

static long keyctl(int operation, long a, long b = 0, long c = 0, long d = 0) {
  return syscall(SYS_keyctl, operation, a, b, c, d);
}
static std::string describe(long key) {
  char text[256] = {};
  CHECK(keyctl(KEYCTL_DESCRIBE, key, reinterpret_cast<long>(text), sizeof text) > 0);
  return text;
}
static long invocation() {
  return keyctl(KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, reinterpret_cast<long>("user"),
                reinterpret_cast<long>("invocation_id"));
}
static std::string view() {
  char id[64] = {};
  long length = keyctl(KEYCTL_READ, invocation(), reinterpret_cast<long>(id), sizeof id);
  CHECK(length == 16);
  return describe(KEY_SPEC_SESSION_KEYRING) + " " + describe(invocation()) + " " + std::string(id, 16);
}

static void end_who_is_asked() {
  sock_filter filter[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_keyctl, 0, 3),
                          BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args)),
                          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, KEYCTL_GET_KEYRING_ID, 0, 1),
                          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
                          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  sock_fprog program{static_cast<unsigned short>(std::size(filter)), filter};
  CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) skip("this kernel has no seccomp filters");
}

int main(int count, char**) {
  if (keyctl(KEYCTL_JOIN_SESSION_KEYRING, 0) < 0) skip("this kernel has no keys");
  long session = keyctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING);
  long key = syscall(SYS_add_key, "user", "invocation_id", "0123456789abcdef", 16, session);
  CHECK(key > 0 && keyctl(KEYCTL_CHOWN, key, 4242, 4243) == 0 && keyctl(KEYCTL_SETPERM, key, 0x0b0b0000) == 0);
  CHECK(keyctl(KEYCTL_CHOWN, session, 4242, 4243) == 0 && keyctl(KEYCTL_SETPERM, session, 0x3f1f0000) == 0);
  volatile bool finish = false;
  std::string before = view();
  if (count > 1) end_who_is_asked();
  pid_t child = fork();
  if (child == 0) {
    CHECK(setresgid(4243, 4243, 4243) == 0 && setresuid(4242, 4242, 4242) == 0);
    wait_until_told();
    CHECK(view() == before);
    _exit(0);
  }
  std::thread thread([&] {
    while (!finish) usleep(1000);
    CHECK(view() == before);
  });
  usleep(10'000);
  ready();
  CHECK(view() == before);
  finish = true;
  thread.join();
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  // All have the same one, which is theirs to change.
  CHECK(syscall(SYS_add_key, "user", "another", "x", 1, KEY_SPEC_SESSION_KEYRING) > 0);
  return 0;
}
