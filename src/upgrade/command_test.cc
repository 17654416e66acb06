// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/command.h"

#include <gtest/gtest.h>

namespace ks::upgrade {
namespace {

std::string line(const Command& command) { return placeholder_command_line(command, "/p").value_or("refused"); }

TEST(Command, KeepsPathAndArguments) {
  EXPECT_EQ(line({"/usr/bin/redis-server", {"/usr/bin/redis-server", "/etc/redis.conf"}, {}}),
            "/p \"/usr/bin/redis-server\" \"/usr/bin/redis-server\" \"/etc/redis.conf\"");
  EXPECT_EQ(line({"/bin/sh", {"-bash", ""}, {}}), "/p \"/bin/sh\" \"-bash\" \"\"");
}

TEST(Command, QuotesWhatSystemdWouldRead) {
  EXPECT_EQ(quote_word("a\"b\\c"), "\"a\\\"b\\\\c\"");
  EXPECT_EQ(quote_word("100%"), "\"100%%\"");
  EXPECT_EQ(quote_word("a\nb\t"), "\"a\\x0ab\\x09\"");
  EXPECT_EQ(quote_word(";"), "\";\"");
  EXPECT_EQ(quote_word("é 'x'"), "\"é 'x'\"");
}

TEST(Command, LeavesVariablesToSystemd) {
  EXPECT_EQ(line({"/a$b", {"/a$b", "$OPTS", "${X}", "$$"}, {}}), "/p \"/a$$b\" \"/a$b\" \"$OPTS\" \"${X}\" \"$$\"");
  EXPECT_EQ(line({"/a$b", {"/a$b", "$OPTS"}, {"no-env-expand"}}), ":/p \"/a$b\" \"/a$b\" \"$OPTS\"");
}

TEST(Command, CarriesPrefixes) {
  EXPECT_EQ(line({"/a", {"a"}, {"ignore-failure", "privileged"}}), "-+/p \"/a\" \"a\"");
  EXPECT_EQ(line({"/a", {"a"}, {"no-setuid"}}), "!/p \"/a\" \"a\"");
  EXPECT_EQ(line({"/a", {"a"}, {"ambient", "no-env-expand"}}), "!!:/p \"/a\" \"a\"");
}

TEST(Command, RefusesAFlagOfANewerSystemd) { EXPECT_EQ(line({"/a", {"a"}, {"via-shell"}}), "refused"); }

}  // namespace
}  // namespace ks::upgrade
