// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kinds/terminal/output.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <termios.h>

#include <cstring>
#include <random>

#include "base/fd.h"
#include "engine/target/killed_midway.h"

namespace ks::engine::terminal {
namespace {

class Output : public testing::Test {
 protected:
  void SetUp() override {
    master_ = Fd(::posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK));
    if (!master_ || ::grantpt(master_.get()) || ::unlockpt(master_.get())) GTEST_SKIP() << "no pseudo-terminals";
    slave_ = Fd(::open(::ptsname(master_.get()), O_RDWR | O_NOCTTY));
    ASSERT_TRUE(slave_);
    std::memset(&settings_, 0, sizeof settings_);  // it has gaps, and is compared
    ASSERT_EQ(::tcgetattr(slave_.get(), &settings_), 0);
  }
  void expect_settings() {
    termios now;
    std::memset(&now, 0, sizeof now);
    ASSERT_EQ(::tcgetattr(slave_.get(), &now), 0);
    EXPECT_EQ(std::memcmp(&settings_, &now, sizeof now), 0);
  }
  void fill(size_t lines) {
    for (size_t i = 0; i < lines; ++i) ASSERT_EQ(::dprintf(slave_.get(), "line %zu\n", i % 10), 7);
  }
  static std::string expected(size_t lines) {
    std::string text;
    for (size_t i = 0; i < lines; ++i) text += "line " + std::to_string(i % 10) + "\r\n";
    return text;
  }
  size_t waiting() { return waiting_output(master_.get()).value(); }
  std::string received() {
    std::string text(4 * kMostOutput, ' ');
    size_t length = 0;
    (void)waiting();
    for (ssize_t some; (some = ::read(master_.get(), text.data() + length, text.size() - length)) > 0;)
      length += static_cast<size_t>(some);
    text.resize(length);
    return text;
  }

  Fd master_, slave_;
  termios settings_;
};

TEST_F(Output, IsReadAndStays) {
  for (size_t lines : {1, 100, 500, 1000}) {
    fill(lines);
    for (int i = 0; i < 3; ++i) {
      auto read = read_output(master_.get(), slave_.get());
      ASSERT_TRUE(read) << read.error().what;
      EXPECT_EQ(*read, expected(lines));
    }
    expect_settings();
    EXPECT_EQ(received(), expected(lines));
  }
}

TEST_F(Output, IsCompletedByAnother) {
  std::mt19937 random(4711);
  int in_the_middle = 0;
  for (int i = 0; i < 100; ++i) {
    fill(300);
    auto turnover = OutputTurnover::prepare(master_.get(), slave_.get());
    ASSERT_TRUE(turnover) << turnover.error().what;
    ASSERT_TRUE(test::kill_midway([&] { (void)turnover->carry_out(); }, random() % 24));
    in_the_middle += waiting() < expected(300).size();
    ASSERT_TRUE(turnover->carry_out()) << i;
    ASSERT_EQ(turnover->output(), expected(300)) << i;
    expect_settings();
    ASSERT_EQ(received(), expected(300)) << i;
  }
  EXPECT_GT(in_the_middle, 10);
}

}  // namespace
}  // namespace ks::engine::terminal
