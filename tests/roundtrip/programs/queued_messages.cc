// SPDX-License-Identifier: LGPL-2.1-or-later
// POSIX message queues with messages in them: a full one with a sender that waits, one that an epoll and a receiver
// of another process look at, and one without a name. With the argument "own", in a namespace of its own.
#include <mqueue.h>
#include <sched.h>
#include <sys/epoll.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "program.h"

static const std::string kLong(100, 'l');

static mqd_t open_queue(const std::string& name) {
  mq_attr wanted{};
  wanted.mq_maxmsg = 8;
  wanted.mq_msgsize = 100;
  mqd_t queue = mq_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL, 0640, &wanted);
  if (queue < 0) skip("no message queues");
  CHECK(fchown(queue, 54322, 2) == 0);  // lest it is taken for that of other tests
  return queue;
}
static void send(mqd_t queue, const std::string& text, unsigned priority) {
  CHECK(mq_send(queue, text.data(), text.size(), priority) == 0);
}
static void expect(mqd_t queue, const std::string& text, unsigned priority) {
  char got[100];
  unsigned with;
  ssize_t length = mq_receive(queue, got, sizeof got, &with);
  CHECK(length >= 0 && std::string(got, static_cast<size_t>(length)) == text && with == priority);
}
static void expect_empty(mqd_t queue) {
  char got[100];
  timespec past{};
  CHECK(mq_timedreceive(queue, got, sizeof got, nullptr, &past) < 0 && errno == ETIMEDOUT);
}
static long messages(mqd_t queue) {
  mq_attr attributes;
  CHECK(mq_getattr(queue, &attributes) == 0 && attributes.mq_maxmsg == 8 && attributes.mq_msgsize == 100);
  return attributes.mq_curmsgs;
}

int main(int count, char** arguments) {
  bool own = count > 1 && !strcmp(arguments[1], "own");
  if (own && unshare(CLONE_NEWIPC)) skip("no IPC namespaces");
  std::string name = "/kernel-swap-queued-" + std::to_string(getpid());
  mqd_t full = open_queue(name), watched = open_queue(name + "-2"), nameless = full;
  mqd_t reader = mq_open(name.c_str(), O_RDONLY), writer = mq_open((name + "-2").c_str(), O_WRONLY | O_NONBLOCK);
  CHECK(reader >= 0 && writer >= 0);
  if (!own) {
    nameless = open_queue(name + "-3");
    CHECK(mq_unlink((name + "-3").c_str()) == 0);
    send(nameless, "only", 32767);
  }
  send(full, "b", 2);
  send(full, "c", 2);
  send(full, "", 7);
  send(full, kLong, 1);
  send(full, "a", 9);
  send(full, std::string("\0x", 2), 1);
  send(full, "last", 0);
  send(full, "d", 2);
  std::atomic<bool> started = false;
  std::thread sender([&] {
    started = true;
    send(full, "waited", 2);
  });
  while (!started) usleep(1000);
  send(watched, "first", 0);
  send(watched, "second", 0);
  int epoll = epoll_create1(0);
  epoll_event level{.events = EPOLLIN, .data = {.u64 = 1}}, got;
  CHECK(epoll >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, watched, &level) == 0);
  int to_child[2];
  CHECK(pipe(to_child) == 0);
  pid_t child = fork();
  if (child == 0) {
    char byte;
    CHECK(read(to_child[0], &byte, 1) == 1);
    expect(watched, "first", 0);
    _exit(0);
  }
  usleep(20'000);
  struct stat before, after;
  CHECK(fstat(full, &before) == 0);
  ready();
  CHECK(fstat(full, &after) == 0 && after.st_mode == before.st_mode && after.st_uid == 54322);
  CHECK(messages(full) == 8 && messages(watched) == 2);
  CHECK(epoll_wait(epoll, &got, 1, 0) == 1 && got.data.u64 == 1);
  expect(reader, "a", 9);
  sender.join();
  expect(full, "", 7);
  expect(full, "b", 2);
  expect(full, "c", 2);
  expect(reader, "d", 2);
  expect(full, "waited", 2);
  expect(full, kLong, 1);
  expect(full, std::string("\0x", 2), 1);
  expect(full, "last", 0);
  expect_empty(full);
  int status;
  CHECK(write(to_child[1], "", 1) == 1 && waitpid(child, &status, 0) == child && status == 0);
  CHECK(mq_send(writer, "third", 5, 0) == 0);
  expect(watched, "second", 0);
  expect(watched, "third", 0);
  expect_empty(watched);
  CHECK(epoll_wait(epoll, &got, 1, 0) == 0);
  if (!own) {
    expect(nameless, "only", 32767);
    expect_empty(nameless);
  }
  CHECK(mq_unlink(name.c_str()) == 0 && mq_unlink((name + "-2").c_str()) == 0);
  return 0;
}
