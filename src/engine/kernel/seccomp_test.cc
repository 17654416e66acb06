// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/seccomp.h"

#include <gtest/gtest.h>
#include <linux/audit.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <random>

namespace ks::engine {
namespace {

using Code = std::vector<sock_filter>;

constexpr uint32_t kNumber = offsetof(seccomp_data, nr), kFirst = offsetof(seccomp_data, args);

seccomp_data call(int number, uint64_t first = 0) {
  return {.nr = number, .arch = AUDIT_ARCH_X86_64, .instruction_pointer = 0x1000, .args = {first}};
}

// The form that libseccomp gives a filter.
const Code kAllowList = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kNumber),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_read, 4, 0),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 2),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kFirst),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 1, 1, 0),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 13),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};

TEST(Seccomp, AnAllowList) {
  EXPECT_EQ(run_filter(kAllowList, call(SYS_read)).value(), SECCOMP_RET_ALLOW);
  EXPECT_EQ(run_filter(kAllowList, call(SYS_write)).value(), SECCOMP_RET_ERRNO | 13u);
  EXPECT_EQ(run_filter(kAllowList, call(SYS_socket, 1)).value(), SECCOMP_RET_ALLOW);
  EXPECT_EQ(run_filter(kAllowList, call(SYS_socket, 2)).value(), SECCOMP_RET_ERRNO | 13u);
  seccomp_data other = call(SYS_read);
  other.arch = AUDIT_ARCH_I386;
  EXPECT_EQ(run_filter(kAllowList, other).value(), SECCOMP_RET_KILL_PROCESS);
}

TEST(Seccomp, TheStrictestOfAllCounts) {
  SeccompFilter allow{.code = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)}};
  SeccompFilter trap{.code = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP)}};
  SeccompFilter kill{.code = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)}};
  SeccompFilter list{.code = kAllowList};
  EXPECT_EQ(filtered_action(std::vector{allow}, call(1)).value(), SECCOMP_RET_ALLOW);
  EXPECT_EQ(filtered_action(std::vector{list, allow}, call(SYS_write)).value(), SECCOMP_RET_ERRNO);
  EXPECT_EQ(filtered_action(std::vector{list, trap, allow}, call(SYS_write)).value(), SECCOMP_RET_TRAP);
  EXPECT_EQ(filtered_action(std::vector{trap, kill, list}, call(SYS_write)).value(), SECCOMP_RET_KILL_PROCESS);
  EXPECT_TRUE(is_harmless(SECCOMP_RET_ERRNO));
  EXPECT_FALSE(is_allowed(SECCOMP_RET_ERRNO));
  for (uint32_t action : {SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD, SECCOMP_RET_TRAP, SECCOMP_RET_TRACE,
                          SECCOMP_RET_USER_NOTIF})
    EXPECT_FALSE(is_harmless(action));
}

TEST(Seccomp, WhatLinuxWouldNotTake) {
  EXPECT_FALSE(run_filter({}, call(1)));
  EXPECT_FALSE(run_filter(Code{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, sizeof(seccomp_data))}, call(1)));
  EXPECT_FALSE(run_filter(Code{BPF_STMT(BPF_ST, BPF_MEMWORDS)}, call(1)));
  EXPECT_FALSE(run_filter(Code{BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0)}, call(1)));
}

TEST(Seccomp, Notification) {
  EXPECT_FALSE(may_notify(kAllowList));
  EXPECT_TRUE(may_notify(Code{BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF)}));
  EXPECT_TRUE(may_notify(Code{BPF_STMT(BPF_RET | BPF_A, 0)}));
}

// Random programs give what the kernel makes of them: an errno of twelve bits.
TEST(Seccomp, AsTheKernelDoes) {
  std::mt19937 random(7);
  auto any = [&] { return static_cast<uint32_t>(random()); };
  for (int program = 0; program < 200; ++program) {
    Code code;
    auto load = [&] { code.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, any() % 16 * 4)); };
    load();
    for (unsigned i = 0, count = any() % 12; i < count; ++i) {
      constexpr uint16_t operations[] = {BPF_ADD, BPF_SUB, BPF_MUL, BPF_DIV, BPF_AND, BPF_OR, BPF_XOR};
      auto operation = operations[any() % std::size(operations)];
      switch (any() % 6) {
        case 0:
          load();
          break;
        case 1:
          code.push_back(BPF_STMT(BPF_MISC | BPF_TAX, 0));
          break;
        case 2:
          code.push_back(BPF_STMT(static_cast<uint16_t>(BPF_ALU | operation | BPF_K), any() | 1));
          break;
        case 3:
          code.push_back(BPF_STMT(static_cast<uint16_t>(BPF_ALU | BPF_XOR | BPF_X), 0));
          break;
        case 4:
          code.push_back(BPF_STMT(static_cast<uint16_t>(BPF_ALU | BPF_RSH | BPF_K), any() % 32));
          break;
        default:
          code.push_back(BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, any(), 1, 0));
          code.push_back(BPF_STMT(BPF_ALU | BPF_NEG, 0));
          code.push_back(BPF_STMT(BPF_ALU | BPF_ADD | BPF_K, any()));
      }
    }
    // The address of the call is not known beforehand.
    for (auto& instruction : code)
      if (instruction.code == (BPF_LD | BPF_W | BPF_ABS) && instruction.k / 8 == 1) instruction.k = kNumber;
    code.push_back(BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x7ff));
    code.push_back(BPF_STMT(BPF_ALU | BPF_OR | BPF_K, SECCOMP_RET_ERRNO));
    code.push_back(BPF_STMT(BPF_MISC | BPF_TAX, 0));
    code.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kNumber));
    code.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 1, 0));
    code.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    code.push_back(BPF_STMT(BPF_MISC | BPF_TXA, 0));
    code.push_back(BPF_STMT(BPF_RET | BPF_A, 0));
    uint64_t arguments[6];
    for (auto& argument : arguments) argument = uint64_t{any()} << 32 | any();
    seccomp_data data{.nr = SYS_getppid, .arch = AUDIT_ARCH_X86_64};
    std::copy(std::begin(arguments), std::end(arguments), data.args);
    auto expected = run_filter(code, data);
    ASSERT_TRUE(expected) << expected.error().what;

    int fds[2];
    ASSERT_EQ(::pipe(fds), 0);
    pid_t child = ::fork();
    if (child == 0) {
      sock_fprog whole{static_cast<uint16_t>(code.size()), code.data()};
      int error = -1;
      if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
          ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &whole) == 0) {
        long result = ::syscall(SYS_getppid, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4],
                                arguments[5]);
        error = result < 0 ? errno : 0;
      }
      (void)!::write(fds[1], &error, sizeof error);
      ::_exit(0);
    }
    int error = -2;
    ASSERT_EQ(::read(fds[0], &error, sizeof error), static_cast<ssize_t>(sizeof error));
    ::waitpid(child, nullptr, 0);
    ::close(fds[0]);
    ::close(fds[1]);
    if (error == -1) GTEST_SKIP() << "this kernel has no seccomp filters";
    EXPECT_EQ(*expected, SECCOMP_RET_ERRNO | static_cast<uint32_t>(error)) << "program " << program;
  }
}

}  // namespace
}  // namespace ks::engine
