// SPDX-License-Identifier: LGPL-2.1-or-later
// POSIX message queues that are to notify a process of a message (mq_notify(3)): by a signal with a value, by one
// that is caught, a process's own and another's, or not at all. With the argument "own", in an IPC namespace of its
// own.
#include <mqueue.h>
#include <sched.h>

#include <string>

#include "program.h"

static const uint64_t kValue = 0x1122334455667788;

static mqd_t open_queue(const std::string& name) {
  mqd_t queue = mq_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600, nullptr);
  if (queue < 0) skip("no message queues");
  CHECK(fchown(queue, 54322, 2) == 0);  // lest it is taken for that of other tests
  return queue;
}
static int ask(mqd_t queue, int how, int number, uint64_t value) {
  sigevent event{};
  event.sigev_notify = how;
  event.sigev_signo = number;
  event.sigev_value.sival_ptr = reinterpret_cast<void*>(value);
  return mq_notify(queue, &event);
}
static void expect_taken(mqd_t queue) { CHECK(ask(queue, SIGEV_NONE, 0, 0) < 0 && errno == EBUSY); }
static void expect_free(mqd_t queue) { CHECK(ask(queue, SIGEV_NONE, 0, 0) == 0 && mq_notify(queue, nullptr) == 0); }
static void send(mqd_t queue) { CHECK(mq_send(queue, "x", 1, 0) == 0); }
static void receive(mqd_t queue) {
  std::string text(8192, '\0');
  CHECK(mq_receive(queue, text.data(), text.size(), nullptr) == 1);
}
static void expect_signal(int number, uint64_t value, pid_t from) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, number);
  siginfo_t info{};
  timespec limit{10, 0};
  CHECK(sigtimedwait(&set, &info, &limit) == number);
  CHECK(info.si_code == SI_MESGQ && info.si_pid == from && info.si_uid == getuid());
  CHECK(reinterpret_cast<uint64_t>(info.si_value.sival_ptr) == value);
}
static void expect_none() {
  sigset_t pending;
  CHECK(sigpending(&pending) == 0 && !sigismember(&pending, SIGRTMIN + 1) && !sigismember(&pending, SIGUSR1));
}

static volatile int caught = 0;

int main(int count, char** arguments) {
  if (access("/sys/kernel/btf/vmlinux", R_OK)) skip("no BTF");
  if (count > 1 && !strcmp(arguments[1], "own") && unshare(CLONE_NEWIPC)) skip("no IPC namespaces");
  std::string name = "/kernel-swap-notify-" + std::to_string(getpid());
  mqd_t mine = open_queue(name), others = open_queue(name + "-2"), kept = open_queue(name + "-3"),
        handled = open_queue(name + "-4"), again = mq_open(name.c_str(), O_RDWR);
  CHECK(again >= 0);
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGRTMIN + 1);
  sigaddset(&blocked, SIGUSR1);
  CHECK(sigprocmask(SIG_BLOCK, &blocked, nullptr) == 0);
  struct sigaction catches{};
  catches.sa_sigaction = [](int, siginfo_t* info, void*) { caught = info->si_value.sival_int; };
  catches.sa_flags = SA_SIGINFO;
  CHECK(sigaction(SIGUSR2, &catches, nullptr) == 0);
  int to_child[2], to_parent[2];
  CHECK(pipe(to_child) == 0 && pipe(to_parent) == 0);
  pid_t parent = getpid(),
        child = fork_to([&] {
          char byte;
          CHECK(ask(others, SIGEV_SIGNAL, SIGUSR1, kValue + 1) == 0 && ask(kept, SIGEV_NONE, 0, 0) == 0);
          CHECK(write(to_parent[1], "", 1) == 1 && read(to_child[0], &byte, 1) == 1);
          // Of `others` its parent has sent us word; of the parent's we do.
          expect_signal(SIGUSR1, kValue + 1, parent);
          expect_free(others);
          receive(others);
          CHECK(mq_notify(kept, nullptr) == 0);
          send(mine);
          CHECK(write(to_parent[1], "", 1) == 1);
        });
  char byte;
  CHECK(read(to_parent[0], &byte, 1) == 1);
  CHECK(ask(again, SIGEV_SIGNAL, SIGRTMIN + 1, kValue) == 0 && ask(handled, SIGEV_SIGNAL, SIGUSR2, 4711) == 0);
  ready();
  expect_none();
  for (mqd_t queue : {mine, others, kept, handled}) expect_taken(queue);
  CHECK(mq_notify(kept, nullptr) == 0);  // only who is registered can give it up
  expect_taken(kept);
  send(kept);  // tells nobody, and the registration is gone
  expect_free(kept);
  receive(kept);
  send(handled);
  CHECK(caught == 4711);
  expect_free(handled);
  send(others);
  CHECK(write(to_child[1], "", 1) == 1 && read(to_parent[0], &byte, 1) == 1);
  expect_signal(SIGRTMIN + 1, kValue, child);
  expect_free(mine);
  send(mine);
  expect_none();
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  for (const char* end : {"", "-2", "-3", "-4"}) CHECK(mq_unlink((name + end).c_str()) == 0);
  return 0;
}
