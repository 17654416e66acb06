// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kinds/message_queue/registration.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <mqueue.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "base/fd.h"

namespace ks::engine::message_queue {
namespace {

class Registrations : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = "/kernel-swap-unit-" + std::to_string(::getpid());
    queue_ = Fd(::mq_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600, nullptr));
    if (!queue_) GTEST_SKIP() << "no message queues";
    ::mq_unlink(name.c_str());
    if (::access("/sys/kernel/btf/vmlinux", R_OK)) GTEST_SKIP() << "no BTF";
  }
  int ask(int how, int signal = 0, uint64_t value = 0) {
    sigevent event{};
    event.sigev_notify = how;
    event.sigev_signo = signal;
    event.sigev_value.sival_ptr = reinterpret_cast<void*>(value);
    return static_cast<int>(::syscall(SYS_mq_notify, queue_.get(), &event));
  }
  // What is read while a child is there that has done so.
  template <class Does>
  Result<std::optional<Registration>> with_child(Does does) {
    int ends[2];
    char byte;
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    Fd out(ends[0]), in(ends[1]);
    pid_t child = ::fork();
    if (child == 0) {
      does();
      (void)!::write(in.get(), "", 1);
      ::pause();
    }
    in = Fd();
    EXPECT_GE(::read(out.get(), &byte, 1), 0);  // it says so, or executes a program
    auto found = registration_of(queue_.get());
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    return found;
  }
  static bool is_refused(const Result<std::optional<Registration>>& found, const char* reason) {
    return !found && found.error().refusal && found.error().what.find(reason) != std::string::npos;
  }

  Fd queue_;
};

TEST_F(Registrations, AreReadAndStay) {
  auto none = registration_of(queue_.get());
  ASSERT_TRUE(none && !*none);
  ASSERT_EQ(ask(SIGEV_SIGNAL, SIGRTMIN + 3, 0x1122334455667788), 0);
  for (int i = 0; i < 2; ++i) {
    auto found = registration_of(queue_.get());
    ASSERT_TRUE(found && *found) << (found ? "none" : found.error().what);
    EXPECT_EQ((*found)->pid, ::getpid());
    EXPECT_TRUE((*found)->by_signal);
    EXPECT_EQ((*found)->signal, SIGRTMIN + 3);
    EXPECT_EQ((*found)->value, 0x1122334455667788u);
  }
  ASSERT_EQ(::mq_notify(queue_.get(), nullptr), 0);
  none = registration_of(queue_.get());
  EXPECT_TRUE(none && !*none);
}

TEST_F(Registrations, OfAnotherProcess) {
  auto found = with_child([&] { ask(SIGEV_NONE); });
  ASSERT_TRUE(found && *found) << (found ? "none" : found.error().what);
  EXPECT_FALSE((*found)->by_signal);
  EXPECT_NE((*found)->pid, ::getpid());
}

TEST_F(Registrations, ThatNobodyCanMakeAgain) {
  EXPECT_TRUE(is_refused(with_child([&] {
                           ask(SIGEV_SIGNAL, SIGUSR1);
                           if (::unshare(CLONE_NEWUSER)) ::_exit(1);
                         }),
                         "entered another user namespace"));
  EXPECT_TRUE(is_refused(with_child([&] {
                           ask(SIGEV_SIGNAL, SIGUSR1);
                           ::fcntl(queue_.get(), F_SETFD, 0);
                           ::execl("/bin/sleep", "sleep", "60", nullptr);
                         }),
                         "executed another program"));
}

// Its descriptors are not closed if others share them.
TEST_F(Registrations, OfAProcessThatHasEnded) {
  long child = ::syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
  if (child == 0) ::_exit(ask(SIGEV_SIGNAL, SIGUSR1));
  int status = -1;
  ASSERT_EQ(::waitpid(static_cast<pid_t>(child), &status, 0), child);
  ASSERT_EQ(status, 0);
  EXPECT_TRUE(is_refused(registration_of(queue_.get()), "has ended"));
}

}  // namespace
}  // namespace ks::engine::message_queue
