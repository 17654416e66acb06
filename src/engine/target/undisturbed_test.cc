// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/undisturbed.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <random>

namespace ks::engine {
namespace {

// What the work leaves out of its place for a while.
struct Thing {
  std::atomic<bool> is_away = false;
  std::atomic<int> begun = 0;
};

class Undisturbed : public testing::Test {
 protected:
  void SetUp() override {
    void* at = ::mmap(nullptr, sizeof(Thing), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(at, MAP_FAILED);
    thing_ = new (at) Thing;
  }
  void TearDown() override { ::munmap(thing_, sizeof(Thing)); }

  bool work() {
    thing_->is_away = true;
    ++thing_->begun;
    ::usleep(300);
    thing_->is_away = false;
    return true;
  }

  Thing* thing_ = nullptr;
};

TEST_F(Undisturbed, SaysWhatTheWorkHasDone) {
  EXPECT_EQ(do_undisturbed([] { return true; }), true);
  int here = 0;
  EXPECT_EQ(do_undisturbed([&] { return ++here > 1; }), false);  // once in a child, once here
  EXPECT_EQ(here, 1);
}

TEST_F(Undisturbed, IsCompletedIfTheChildIsKilled) {
  pid_t maker = ::getpid();
  auto killed_first = [&] {
    if (::getpid() != maker) ::kill(::getpid(), SIGKILL);
    return work();
  };
  EXPECT_EQ(do_undisturbed(killed_first), true);
  EXPECT_EQ(thing_->begun, 1);
}

TEST_F(Undisturbed, IsRefusedWhereSomebodyTracesUs) {
  pid_t maker = ::fork();
  if (maker == 0) {
    ::ptrace(PTRACE_TRACEME, 0, 0, 0);
    ::raise(SIGSTOP);
    auto done = do_undisturbed([&] { return work(); });
    ::_exit(!done && done.error().refusal ? 0 : 1);
  }
  int status;
  while (::waitpid(maker, &status, 0) == maker && WIFSTOPPED(status))
    ::ptrace(PTRACE_CONT, maker, 0, WSTOPSIG(status) == SIGSTOP ? 0 : WSTOPSIG(status));
  EXPECT_EQ(status, 0);
  EXPECT_EQ(thing_->begun, 0);
}

// Whoever is traced by one that is killed looks as soon as it is let go.
TEST_F(Undisturbed, IsSeenByNobodyWhenItsMakerIsKilled) {
  unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int i = 0; i < 200; ++i) {
    int go[2], report[2];
    ASSERT_EQ(::pipe(go) | ::pipe(report), 0);
    char byte;
    pid_t service = ::fork();
    if (service == 0) {
      bool told = ::read(go[0], &byte, 1) == 1;
      ::_exit(told && !thing_->is_away ? 0 : 1);
    }
    pid_t maker = ::fork();
    if (maker == 0) {
      bool stopped = ::ptrace(PTRACE_SEIZE, service, 0, 0) == 0 && ::ptrace(PTRACE_INTERRUPT, service, 0, 0) == 0 &&
                     ::waitpid(service, nullptr, 0) == service;
      if (!stopped || ::write(go[1], "", 1) != 1 || ::write(report[1], "", 1) != 1) ::_exit(1);
      for (;;)
        if (auto done = do_undisturbed([&] { return work(); }); !done || !*done) ::_exit(2);
    }
    ASSERT_EQ(::read(report[0], &byte, 1), 1);
    // In the midst of the work every other time, however slow this machine is; else wherever it comes.
    int before = thing_->begun;
    for (int waits = 0; i % 2 && thing_->begun == before && waits < 20000; ++waits) ::usleep(100);
    ::usleep(random() % (i % 2 ? 600 : 8000));
    ::kill(maker, SIGKILL);
    int status;
    ASSERT_EQ(::waitpid(maker, &status, 0), maker);
    ASSERT_TRUE(WIFSIGNALED(status)) << WEXITSTATUS(status);
    ASSERT_EQ(::waitpid(service, &status, 0), service);
    ASSERT_EQ(status, 0) << "killed " << i;
    for (int fd : {go[0], go[1], report[0], report[1]}) ::close(fd);
  }
  EXPECT_GT(thing_->begun, 20);
}

}  // namespace
}  // namespace ks::engine
