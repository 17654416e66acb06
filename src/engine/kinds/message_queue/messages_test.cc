// SPDX-License-Identifier: LGPL-2.1-or-later
// Messages are read and nobody notices, whoever of those who do it is killed, and when.
#include "engine/kinds/message_queue/messages.h"

#include <gtest/gtest.h>
#include <mqueue.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <random>

#include "base/fd.h"

namespace ks::engine::message_queue {
namespace {

constexpr size_t kMostBytes = 64;

class Messages : public testing::Test {
 protected:
  void SetUp() override {
    mq_attr limits{};
    limits.mq_maxmsg = 10;
    limits.mq_msgsize = kMostBytes;
    std::string name = "/kernel-swap-unit-" + std::to_string(::getpid());
    queue_ = Fd(::mq_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0600, &limits));
    if (!queue_) GTEST_SKIP() << "no message queues";
    ::mq_unlink(name.c_str());
    for (const auto& [priority, text] : sent())
      ASSERT_EQ(::mq_send(queue_.get(), text.data(), text.size(), priority), 0);
  }
  // A full queue, in no order.
  static std::vector<Message> sent() {
    return {{3, "a"},   {3, "bb"}, {1, ""},      {7, "c"},
            {1, "ddd"}, {3, "e"},  {32767, "f"}, {0, std::string(kMostBytes, 'g')},
            {1, "hh"},  {3, ""}};
  }
  static std::vector<std::string> expected() {
    return {"f", "c", "a", "bb", "e", "", "", "ddd", "hh", std::string(kMostBytes, 'g')};
  }
  static std::vector<std::string> texts(const std::vector<Message>& messages) {
    std::vector<std::string> texts;
    for (const auto& message : messages) texts.push_back(message.text);
    return texts;
  }
  // What is there, as a service would find it.
  std::vector<std::string> received() {
    std::vector<std::string> texts;
    char text[kMostBytes];
    for (ssize_t length; (length = ::mq_receive(queue_.get(), text, sizeof text, nullptr)) >= 0;)
      texts.emplace_back(text, static_cast<size_t>(length));
    return texts;
  }
  void fill() {
    for (const auto& [priority, text] : sent()) (void)::mq_send(queue_.get(), text.data(), text.size(), priority);
  }

  Fd queue_;
};

TEST_F(Messages, AreReadInTheirOrderAndStay) {
  struct stat before{}, after{};
  ASSERT_EQ(::fstat(queue_.get(), &before), 0);
  for (int i = 0; i < 3; ++i) {
    auto read = read_messages(queue_.get());
    ASSERT_TRUE(read) << read.error().what;
    EXPECT_EQ(texts(*read), expected());
    EXPECT_EQ(read->front().priority, 32767u);
  }
  ASSERT_EQ(::fstat(queue_.get(), &after), 0);
  EXPECT_EQ(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
  EXPECT_EQ(before.st_atim.tv_nsec, after.st_atim.tv_nsec);
  EXPECT_EQ(received(), expected());
}

TEST_F(Messages, OfAnEmptyQueueAreNone) {
  (void)received();
  auto read = read_messages(queue_.get());
  ASSERT_TRUE(read) << read.error().what;
  EXPECT_TRUE(read->empty());
}

// Whoever takes and puts back is killed alone: at any instant, somebody else can go on where it was.
TEST_F(Messages, AreCompletedByAnother) {
  std::mt19937 random(4711);
  int in_the_middle = 0;
  for (int i = 0; i < 400; ++i) {
    auto turnover = Turnover::prepare(queue_.get());
    ASSERT_TRUE(turnover) << turnover.error().what;
    pid_t child = ::fork();
    if (child == 0) {
      // A system call or two more each time.
      ::ptrace(PTRACE_TRACEME, 0, 0, 0);
      ::raise(SIGSTOP);
      ::_exit(turnover->carry_out() ? 0 : 1);
    }
    int status;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    for (unsigned stops = random() % 60; stops && WIFSTOPPED(status); --stops) {
      ::ptrace(PTRACE_SYSCALL, child, 0, 0);
      ASSERT_EQ(::waitpid(child, &status, 0), child);
    }
    if (WIFSTOPPED(status)) {
      ::kill(child, SIGKILL);
      ASSERT_EQ(::waitpid(child, &status, 0), child);
    }
    auto filling = filling_of(queue_.get());
    ASSERT_TRUE(filling);
    in_the_middle += filling->messages < expected().size();
    ASSERT_TRUE(turnover->carry_out()) << i;
    ASSERT_EQ(texts(turnover->messages()), expected()) << i;
    ASSERT_EQ(received(), expected()) << i;
    fill();
  }
  EXPECT_GT(in_the_middle, 100);
}

// A process that looks into the queue as soon as it is let go never finds it otherwise than before.
TEST_F(Messages, AreInTheirPlaceWhenWhoReadsIsKilled) {
  unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int i = 0; i < 200; ++i) {
    int go[2], report[2];
    ASSERT_EQ(::pipe(go) | ::pipe(report), 0);
    char byte;
    pid_t service = ::fork();
    if (service == 0) {
      if (::read(go[0], &byte, 1) != 1) ::_exit(2);
      for (int look = 0; look < 20; ++look) {
        if (received() != expected()) ::_exit(1);
        fill();
      }
      ::_exit(0);
    }
    pid_t engine = ::fork();
    if (engine == 0) {
      bool stopped = ::ptrace(PTRACE_SEIZE, service, 0, 0) == 0 && ::ptrace(PTRACE_INTERRUPT, service, 0, 0) == 0 &&
                     ::waitpid(service, nullptr, 0) == service;
      if (!stopped || ::write(go[1], "", 1) != 1 || ::write(report[1], "", 1) != 1) ::_exit(1);
      for (;;)
        if (auto read = read_messages(queue_.get()); !read || texts(*read) != expected()) ::_exit(2);
    }
    ASSERT_EQ(::read(report[0], &byte, 1), 1);
    ::usleep(random() % 3000);
    ::kill(engine, SIGKILL);
    int status;
    ASSERT_EQ(::waitpid(engine, &status, 0), engine);
    ASSERT_TRUE(WIFSIGNALED(status)) << WEXITSTATUS(status);
    ASSERT_EQ(::waitpid(service, &status, 0), service);
    ASSERT_EQ(status, 0) << "killed " << i;
    for (int fd : {go[0], go[1], report[0], report[1]}) ::close(fd);
  }
}

}  // namespace
}  // namespace ks::engine::message_queue
