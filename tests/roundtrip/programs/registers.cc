// SPDX-License-Identifier: LGPL-2.1-or-later
// Registers that are live across the dump: general ones and flags in one thread, vectors in two others, and a
// segment base in each.
#include <asm/prctl.h>

#include <thread>

#include "program.h"

static volatile int finish = 0;

struct General {
  uint64_t rax, rbx, rdx, rbp, r8, r9, r10, r11, r12, r13, r14, r15, flags;
};
struct alignas(32) Vectors {
  uint64_t words[16][4];
};

// Each loads `*from`, spins until `finish` is set, and stores what it then has.
extern "C" void hold_general(const General* from, General* to, volatile int* flag);
extern "C" void hold_ymm(const Vectors* from, Vectors* to, volatile int* flag);
extern "C" void hold_xmm(const Vectors* from, Vectors* to, volatile int* flag);
asm(R"(
.text
hold_general:
  push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; push %rsi
  mov %rdx, %rsi
  mov 0(%rdi), %rax; mov 8(%rdi), %rbx; mov 16(%rdi), %rdx; mov 24(%rdi), %rbp
  mov 32(%rdi), %r8; mov 40(%rdi), %r9; mov 48(%rdi), %r10; mov 56(%rdi), %r11
  mov 64(%rdi), %r12; mov 72(%rdi), %r13; mov 80(%rdi), %r14; mov 88(%rdi), %r15
  std
  stc
1: mov (%rsi), %ecx
  jrcxz 1b               # touches no flag
  pop %rdi
  mov %rax, 0(%rdi); mov %rbx, 8(%rdi); mov %rdx, 16(%rdi); mov %rbp, 24(%rdi)
  mov %r8, 32(%rdi); mov %r9, 40(%rdi); mov %r10, 48(%rdi); mov %r11, 56(%rdi)
  mov %r12, 64(%rdi); mov %r13, 72(%rdi); mov %r14, 80(%rdi); mov %r15, 88(%rdi)
  pushf
  pop 96(%rdi)
  cld
  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx
  ret
.irp width, ymm, xmm
hold_\width:
  .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
  .ifc \width, ymm
  vmovdqu 32*\n(%rdi), %ymm\n
  .else
  movdqu 32*\n(%rdi), %xmm\n
  .endif
  .endr
1: cmpl $0, (%rdx)
  je 1b
  .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
  .ifc \width, ymm
  vmovdqu %ymm\n, 32*\n(%rsi)
  .else
  movdqu %xmm\n, 32*\n(%rsi)
  .endif
  .endr
  .ifc \width, ymm
  vzeroupper
  .endif
  ret
.endr
)");

static void keep_segment(uint64_t base, void (*body)()) {
  CHECK(syscall(SYS_arch_prctl, ARCH_SET_GS, base) == 0);
  body();
  uint64_t found;
  CHECK(syscall(SYS_arch_prctl, ARCH_GET_GS, &found) == 0 && found == base);
}

static void general() {
  General in, out{};
  for (size_t i = 0; i < sizeof in / 8; ++i) reinterpret_cast<uint64_t*>(&in)[i] = 0xfedcba9876543210 * (i + 1);
  hold_general(&in, &out, &finish);
  CHECK((out.flags & 0x401) == 0x401);  // direction and carry
  in.flags = out.flags;
  CHECK(memcmp(&in, &out, sizeof in) == 0);
}

template <auto kHold, size_t kBytes>
static void vectors() {
  Vectors in, out{};
  for (size_t i = 0; i < 64; ++i) in.words[i / 4][i % 4] = 0x0123456789abcdef * (i + 1);
  kHold(&in, &out, &finish);
  for (size_t i = 0; i < 16; ++i) CHECK(memcmp(in.words[i], out.words[i], kBytes) == 0);
}

int main() {
  std::thread one([] { keep_segment(0x12345678, general); });
  std::thread two([] { keep_segment(0x7ffff000, vectors<hold_xmm, 16>); });
  std::thread three(
      [] { keep_segment(0x1000, __builtin_cpu_supports("avx") ? vectors<hold_ymm, 32> : vectors<hold_xmm, 16>); });
  usleep(20'000);
  ready();
  finish = 1;
  one.join();
  two.join();
  three.join();
  return 0;
}
