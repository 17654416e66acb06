// SPDX-License-Identifier: LGPL-2.1-or-later
// A session keyring as systemd gives it to a service: of the service's user, with the ID of the invocation, shared by
// all processes and threads.
#include <linux/keyctl.h>

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

int main() {
  if (keyctl(KEYCTL_JOIN_SESSION_KEYRING, 0) < 0) skip("this kernel has no keys");
  long session = keyctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING);
  long key = syscall(SYS_add_key, "user", "invocation_id", "0123456789abcdef", 16, session);
  CHECK(key > 0 && keyctl(KEYCTL_CHOWN, key, 4242, 4243) == 0 && keyctl(KEYCTL_SETPERM, key, 0x0b0b0000) == 0);
  CHECK(keyctl(KEYCTL_CHOWN, session, 4242, 4243) == 0 && keyctl(KEYCTL_SETPERM, session, 0x3f1f0000) == 0);
  volatile bool finish = false;
  std::string before = view();
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
