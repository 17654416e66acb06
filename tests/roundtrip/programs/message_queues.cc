// SPDX-License-Identifier: LGPL-2.1-or-later
// POSIX message queues: named, and without a name any more; opened twice, by a child, and waited for. With the
// argument "own", in a namespace of its own.
#include <mqueue.h>
#include <sched.h>

#include <string>
#include <thread>

#include "program.h"

static mqd_t named, nameless;

static mq_attr state(mqd_t queue) {
  mq_attr attributes;
  CHECK(mq_getattr(queue, &attributes) == 0);
  return attributes;
}

int main(int count, char** arguments) {
  bool own = count > 1 && !strcmp(arguments[1], "own");
  if (own && unshare(CLONE_NEWIPC)) skip("no IPC namespaces");
  std::string name = "/kernel-swap-test-" + std::to_string(getpid());
  mq_attr wanted{};
  wanted.mq_maxmsg = 5;
  wanted.mq_msgsize = 100;
  named = mq_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0640, &wanted);
  if (named < 0) skip("no message queues");
  CHECK(fchown(named, 54322, 2) == 0);  // lest it is taken for that of other tests
  mqd_t reader = mq_open(name.c_str(), O_RDONLY);
  CHECK(reader >= 0);
  std::string other = name + "-gone";
  nameless = own ? named : mq_open(other.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600, &wanted);
  CHECK(nameless >= 0 && (own || mq_unlink(other.c_str()) == 0));
  pid_t child = fork();
  if (child == 0) {
    char text[100];
    unsigned priority;
    CHECK(mq_receive(reader, text, sizeof text, &priority) == 5 && priority == 7 && !memcmp(text, "hello", 5));
    CHECK(mq_send(named, "back", 4, 1) == 0);
    _exit(0);
  }
  usleep(20'000);
  struct stat before, after;
  CHECK(fstat(named, &before) == 0);
  ready();
  CHECK(fstat(named, &after) == 0 && after.st_uid == 54322 && after.st_gid == 2 && after.st_mode == before.st_mode);
  CHECK(state(named).mq_flags == O_NONBLOCK && state(reader).mq_flags == 0);
  CHECK(state(named).mq_maxmsg == 5 && state(named).mq_msgsize == 100 && state(named).mq_curmsgs == 0);
  CHECK(mq_send(reader, "x", 1, 0) < 0 && errno == EBADF);
  CHECK(mq_send(named, "hello", 5, 7) == 0);
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  char text[100];
  CHECK(mq_receive(named, text, sizeof text, nullptr) == 4);
  CHECK(mq_receive(named, text, sizeof text, nullptr) < 0 && errno == EAGAIN);
  mqd_t again = mq_open(name.c_str(), O_RDONLY);
  CHECK(again >= 0 && mq_unlink(name.c_str()) == 0);
  CHECK(mq_send(named, "y", 1, 0) == 0 && mq_receive(again, text, sizeof text, nullptr) == 1 && text[0] == 'y');
  CHECK(fstat(nameless, &after) == 0 && after.st_nlink == 0);
  CHECK(mq_send(nameless, "z", 1, 0) == 0 && mq_receive(nameless, text, sizeof text, nullptr) == 1 && text[0] == 'z');
  return 0;
}
