// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/terminal_insides.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include <string>

#include "base/fd.h"

namespace ks::engine {
namespace {

TEST(TerminalInput, IsSeenWithItsLinesAndLeftWhereItIs) {
  Fd master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!master || ::grantpt(master.get()) || ::unlockpt(master.get())) GTEST_SKIP() << "no pseudo-terminals";
  Fd slave(::open(::ptsname(master.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
  ASSERT_TRUE(slave);
  auto none = look_at_input(slave.get());
  if (!none) GTEST_SKIP() << none.error().what;
  EXPECT_TRUE(none->bytes.empty() && !none->on_its_way);

  termios settings{};
  ASSERT_EQ(::tcgetattr(slave.get(), &settings), 0);
  settings.c_lflag &= ~static_cast<tcflag_t>(ECHO);
  ASSERT_EQ(::tcsetattr(slave.get(), TCSANOW, &settings), 0);
  // So much that it goes round in the kernel's room.
  for (int i = 0; i < 30; ++i) {
    std::string line(200, 'x'), read(300, '\0');
    line.back() = '\n';
    ASSERT_EQ(::write(master.get(), line.data(), line.size()), 200);
    ASSERT_EQ(::read(slave.get(), read.data(), read.size()), 200);
  }
  std::string text = "one\ntwo\004thr";
  text[0] = '\xff';
  ASSERT_EQ(::write(master.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  for (int i = 0; i < 1000 && look_at_input(slave.get())->on_its_way; ++i) ::usleep(1000);
  for (int i = 0; i < 2; ++i) {
    auto input = look_at_input(slave.get()).value();
    EXPECT_FALSE(input.on_its_way);
    EXPECT_EQ(input.bytes, std::string("\xffne\ntwo\0thr", 11));
    std::string ends;
    for (bool end : input.ends_line) ends += end ? '1' : '0';
    EXPECT_EQ(ends, "00010001000");
  }
  char byte;
  EXPECT_EQ(::read(slave.get(), &byte, 1), 1);
  EXPECT_EQ(look_at_input(slave.get())->bytes.size(), 10u);
  EXPECT_FALSE(look_at_input(slave.get())->takes_next_literally);
  ASSERT_EQ(::write(master.get(), "\026", 1), 1);
  for (int i = 0; i < 1000 && !look_at_input(slave.get())->takes_next_literally; ++i) ::usleep(1000);
  EXPECT_TRUE(look_at_input(slave.get())->takes_next_literally);
}

}  // namespace
}  // namespace ks::engine
