// SPDX-License-Identifier: LGPL-2.1-or-later
// Who a process is, by argument:
//   user          another user without capabilities, with groups
//   capable       another user with some capabilities, ambient ones too, and a smaller bounding set
//   mixed         different real, effective, saved and file system ids, different in each thread
//   secure        locked securebits, no_new_privs
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>

#include <thread>

#include "program.h"

struct Identity {
  uid_t uids[3];
  gid_t gids[3];
  int fs_user, fs_group, count;
  gid_t groups[64];
  __user_cap_data_struct capabilities[2];
  uint64_t bounding, ambient;
  int securebits, no_new_privileges, dumpable;
};

static Identity identity() {
  Identity is{};
  CHECK(getresuid(&is.uids[0], &is.uids[1], &is.uids[2]) == 0 &&
        getresgid(&is.gids[0], &is.gids[1], &is.gids[2]) == 0);
  is.fs_user = setfsuid(-1), is.fs_group = setfsgid(-1);
  CHECK((is.count = getgroups(64, is.groups)) >= 0);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  CHECK(syscall(SYS_capget, &header, is.capabilities) == 0);
  for (int i = 0; i <= 40; ++i) {
    is.bounding |= static_cast<uint64_t>(prctl(PR_CAPBSET_READ, i) == 1) << i;
    is.ambient |= static_cast<uint64_t>(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, i, 0, 0) == 1) << i;
  }
  is.securebits = prctl(PR_GET_SECUREBITS);
  is.no_new_privileges = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
  is.dumpable = prctl(PR_GET_DUMPABLE);
  return is;
}

static void set_capabilities(uint32_t effective, uint32_t permitted, uint32_t inheritable) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {{effective, permitted, inheritable}, {0, 0, 0}};
  CHECK(syscall(SYS_capset, &header, data) == 0);
}

static void become(const char* kind) {
  gid_t groups[] = {7, 4242, 100000};
  CHECK(setgroups(3, groups) == 0);
  if (!strcmp(kind, "user")) {
    CHECK(setresgid(4243, 4243, 4243) == 0 && setresuid(4242, 4242, 4242) == 0);
  } else if (!strcmp(kind, "capable")) {
    for (int capability : {CAP_SYS_ADMIN, CAP_SYS_PTRACE, CAP_SYSLOG})
      CHECK(prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0);
    CHECK(setresgid(4243, 4243, 4243) == 0 && setresuid(4242, 4242, 4242) == 0);
    uint32_t net = 1u << CAP_NET_BIND_SERVICE, kill = 1u << CAP_KILL;
    set_capabilities(net, net | kill, net);
    CHECK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0) == 0);
  } else if (!strcmp(kind, "mixed")) {
    // The C library would change all threads.
    CHECK(syscall(SYS_setresgid, 1, 2, 3) == 0 && syscall(SYS_setresuid, 0, 5, 6) == 0);
    setfsuid(6);
  } else if (!strcmp(kind, "secure")) {
    CHECK(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP) == 0);
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  }
}

int main(int, char** arguments) {
  const char* kind = arguments[1];
  volatile bool changed = false, finish = false;
  std::thread thread([&] {
    while (!changed) usleep(1000);
    if (!strcmp(kind, "mixed")) {
      CHECK(syscall(SYS_setresgid, 11, 12, 13) == 0 && syscall(SYS_setresuid, 14, 15, 0) == 0);
      syscall(SYS_setfsgid, 13);
    }
    Identity before = identity();
    while (!finish) usleep(1000);
    Identity after = identity();
    CHECK(memcmp(&before, &after, sizeof before) == 0);
  });
  become(kind);
  changed = true;
  usleep(10'000);
  Identity before = identity();
  ready();
  Identity after = identity();
  CHECK(memcmp(before.uids, after.uids, sizeof before.uids) == 0 &&
        memcmp(before.gids, after.gids, sizeof before.gids) == 0);
  CHECK(before.fs_user == after.fs_user && before.fs_group == after.fs_group);
  CHECK(before.count == after.count && memcmp(before.groups, after.groups, sizeof before.groups) == 0);
  CHECK(memcmp(before.capabilities, after.capabilities, sizeof before.capabilities) == 0);
  CHECK(before.bounding == after.bounding && before.ambient == after.ambient);
  CHECK(before.securebits == after.securebits && before.no_new_privileges == after.no_new_privileges);
  CHECK(before.dumpable == after.dumpable);
  finish = true;
  thread.join();
  return 0;
}
