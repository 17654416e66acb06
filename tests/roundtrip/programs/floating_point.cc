// SPDX-License-Identifier: LGPL-2.1-or-later
// The x87 stack, its control and status words, and the SSE control and status register.
#include <thread>

#include "program.h"

static volatile int finish = 0;

struct State {
  long double stack[5];
  uint16_t control, status;
  uint32_t mxcsr;
};

extern "C" void hold_floating(const State* from, State* to, volatile int* flag);
asm(R"(
.text
hold_floating:
  fnstcw -8(%rsp)
  stmxcsr -16(%rsp)
  fninit
  fldcw 80(%rdi)
  ldmxcsr 84(%rdi)
  movl $0, -24(%rsp)
  fld1; fdivs -24(%rsp); fstp %st(0)   # a division by zero stays in the status word
  fldt 0(%rdi); fldt 16(%rdi); fldt 32(%rdi); fldt 48(%rdi); fldt 64(%rdi)
1: cmpl $0, (%rdx)
  je 1b
  fnstcw 80(%rsi)
  fnstsw 82(%rsi)
  stmxcsr 84(%rsi)
  fstpt 64(%rsi); fstpt 48(%rsi); fstpt 32(%rsi); fstpt 16(%rsi); fstpt 0(%rsi)
  fldcw -8(%rsp)
  ldmxcsr -16(%rsp)
  ret
)");

static void keep(uint16_t control, uint32_t mxcsr) {
  State in{{1.5L, -2.25L, 1e4000L, -0.0L, 3.14159265358979323846L}, control, 0, mxcsr}, out{};
  hold_floating(&in, &out, &finish);
  for (int i = 0; i < 5; ++i) CHECK(memcmp(&in.stack[i], &out.stack[i], 10) == 0);
  CHECK(out.control == control && out.mxcsr == mxcsr);
  CHECK(out.status & 0x0004);  // zero divide
}

int main() {
  // Rounding down and up, single and extended precision; flush to zero, denormals are zero, some sticky flags.
  std::thread one([] { keep(0x047f, 0x1f80 | 0x8000 | 0x0040 | 0x6000 | 0x21); });
  std::thread two([] { keep(0x0b7f, 0x1f80 | 0x2000); });
  usleep(20'000);
  ready();
  finish = 1;
  one.join();
  two.join();
  return 0;
}
