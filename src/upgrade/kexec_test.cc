// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/kexec.h"

#include <gtest/gtest.h>

#include "upgrade/program.h"

namespace ks::upgrade {
namespace {

TEST(Kexec, Lockdown) {
  EXPECT_EQ(parse_lockdown("none [integrity] confidentiality\n"), "integrity");
  EXPECT_EQ(parse_lockdown("[none] integrity confidentiality\n"), "none");
  EXPECT_EQ(parse_lockdown(""), "none");
}

TEST(Kexec, TheOlderCallIsForARefusedOneOnly) {
  EXPECT_TRUE(file_load_refused("kexec_file_load failed: Operation not permitted\n"));
  EXPECT_TRUE(file_load_refused("syscall kexec_file_load not available.\n"));
  EXPECT_FALSE(file_load_refused("Cannot determine the file type of /etc/passwd\n"));
}

TEST(Program, StatusAndOutputOfBothStreams) {
  auto end = run_program({"sh", "-c", "echo out; echo err >&2; exit 3"});
  ASSERT_TRUE(end);
  EXPECT_EQ(end->status, 3);
  EXPECT_EQ(end->output, "out\nerr\n");
  EXPECT_EQ(run_program({"sh", "-c", "kill -9 $$"})->status, 137);
  EXPECT_EQ(run_program({"/none/such"}).error().code, ENOENT);
}

}  // namespace
}  // namespace ks::upgrade
