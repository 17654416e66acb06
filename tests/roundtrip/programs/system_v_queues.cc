// SPDX-License-Identifier: LGPL-2.1-or-later
// System V message queues: messages in their order, who used them last, and who waits for them. With the argument
// "own", in a namespace of its own.
#include <sched.h>
#include <sys/msg.h>

#include <thread>

#include "program.h"

struct Message {
  long type;
  char text[4096];
};
static int keyed, empty, full, lonely;

static void send(int queue, long type, size_t bytes, char with) {
  Message message{.type = type, .text = {}};
  memset(message.text, with, bytes);
  CHECK(msgsnd(queue, &message, bytes, 0) == 0);
}
static void receive(int queue, long type, size_t bytes, char with, long wanted = 0) {
  Message message;
  CHECK(msgrcv(queue, &message, sizeof message.text, wanted, 0) == static_cast<ssize_t>(bytes));
  CHECK(message.type == type);
  for (size_t i = 0; i < bytes; ++i) CHECK(message.text[i] == with);
}
static msqid_ds state(int queue) {
  msqid_ds facts;
  CHECK(msgctl(queue, IPC_STAT, &facts) == 0);
  return facts;
}

int main(int count, char** arguments) {
  bool own = count > 1 && !strcmp(arguments[1], "own");
  if (own && unshare(CLONE_NEWIPC)) skip("no IPC namespaces");
  // Whatever nobody alive has used is taken for that of every process of its maker; other tests run at the same time.
  CHECK(own || seteuid(54321) == 0);
  key_t key = 0x6b750000 + getpid() % 0xffff;
  keyed = msgget(key, IPC_CREAT | IPC_EXCL | 0640);
  empty = msgget(IPC_PRIVATE, 0600);
  full = msgget(IPC_PRIVATE, 0600);
  lonely = msgget(IPC_PRIVATE, 0600);
  CHECK(own || seteuid(0) == 0);
  if (keyed < 0 || empty < 0 || full < 0 || lonely < 0) skip("no System V message queues");
  msqid_ds set = state(keyed);
  set.msg_perm.uid = 1;
  set.msg_perm.gid = 2;
  set.msg_qbytes = 10000;
  CHECK(msgctl(keyed, IPC_SET, &set) == 0);
  pid_t child = fork();
  if (child == 0) {
    send(keyed, 5, 10, 'z');
    receive(keyed, 5, 10, 'z');
    send(empty, 1, 0, 0);
    while (!told()) usleep(1000);
    _exit(0);
  }
  receive(empty, 1, 0, 0);
  while (state(keyed).msg_lrpid != child) usleep(1000);
  send(keyed, 2, 3000, 'a');
  send(keyed, 1, 0, 0);
  send(keyed, 2, 4000, 'b');
  send(keyed, 9, 1, 'c');
  send(lonely, 1, 1, 'd');
  set = state(full);
  set.msg_qbytes = 100;
  CHECK(msgctl(full, IPC_SET, &set) == 0);
  send(full, 1, 90, 'f');
  static int done = 0;
  std::thread receiver([] {
    receive(empty, 77, 6, 'r', -100);
    ++done;
  });
  std::thread sender([] {
    send(full, 2, 80, 's');
    ++done;
  });
  usleep(20'000);
  int queues[] = {keyed, empty, full, lonely};
  msqid_ds before[4];
  for (int i = 0; i < 4; ++i) before[i] = state(queues[i]);
  ready();
  CHECK(done == 0 && msgget(key, 0) == keyed);
  for (int i = 0; i < 4; ++i) {
    msqid_ds after = state(queues[i]);
    CHECK(after.msg_perm.mode == before[i].msg_perm.mode && after.msg_qbytes == before[i].msg_qbytes);
    CHECK(after.msg_perm.uid == before[i].msg_perm.uid && after.msg_perm.gid == before[i].msg_perm.gid);
    CHECK(after.msg_perm.cuid == before[i].msg_perm.cuid && after.msg_cbytes == before[i].msg_cbytes);
    CHECK(after.msg_qnum == before[i].msg_qnum && !after.msg_rtime == !before[i].msg_rtime);
    CHECK(after.msg_lspid == before[i].msg_lspid && after.msg_lrpid == before[i].msg_lrpid);
  }
  receive(keyed, 9, 1, 'c', 9);
  receive(keyed, 2, 3000, 'a');
  receive(keyed, 1, 0, 0);
  receive(keyed, 2, 4000, 'b');
  receive(lonely, 1, 1, 'd');
  send(empty, 77, 6, 'r');
  receive(full, 1, 90, 'f');
  receiver.join();
  sender.join();
  receive(full, 2, 80, 's');
  CHECK(waitpid(child, nullptr, 0) == child);
  for (int queue : queues) CHECK(state(queue).msg_qnum == 0 && msgctl(queue, IPC_RMID, nullptr) == 0);
  return 0;
}
