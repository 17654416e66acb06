// SPDX-License-Identifier: LGPL-2.1-or-later
// Messages are read and nobody notices, also when who does it is killed.
#include "engine/kinds/message_queue/messages.h"

#include <gtest/gtest.h>
#include <mqueue.h>
#include <sys/stat.h>
#include <unistd.h>

#include <random>

#include "base/fd.h"
#include "engine/target/killed_midway.h"

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
    ASSERT_TRUE(test::kill_midway([&] { (void)turnover->carry_out(); }, random() % 60));
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

}  // namespace
}  // namespace ks::engine::message_queue
