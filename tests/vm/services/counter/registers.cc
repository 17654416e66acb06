// SPDX-License-Identifier: LGPL-2.1-or-later
// A sum in each of the sixteen vector registers. They are loaded once a burst and stored at its end; in between the
// thread computes and sleeps without ever saving them, so that a checkpoint finds them live whenever it comes.
#include <string.h>
#include <xmmintrin.h>

#include "report.h"
#include "workers.h"

namespace {

constexpr int kRegisters = 16, kLanes = 4;
constexpr uint64_t kSleeps = 50, kRounds = 500;

struct alignas(32) Vectors {
  double lanes[kRegisters][kLanes];
};

struct Burst {
  Vectors sums, steps;
  timespec pause{.tv_sec = 0, .tv_nsec = 20 * kMillisecond};
  uint64_t sleeps = kSleeps;
  int64_t interrupted = 0;  // what nanosleep returned, or-ed together
  uint32_t control = 0;     // MXCSR inside the burst: rounds upwards, which is not the default
  uint32_t control_after = 0;
  long double x87 = 0;  // pi, which lay on the x87 stack all the while
};

// `load`, `add` and `store` move register \r from and to its place at byte 32 * \r.
#define BURST(load, add, store, end)                                                                                 \
  __asm__ volatile(                                                                                                  \
      "ldmxcsr %[control]\n fldpi\n"                                                                                 \
      ".irp r,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n" load                                                          \
      "\n.endr\n"                                                                                                    \
      "1: mov %[rounds], %%r12\n"                                                                                    \
      "2:\n .irp r,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n" add                                                      \
      "\n.endr\n"                                                                                                    \
      "dec %%r12\n jnz 2b\n"                                                                                         \
      "mov $35, %%eax\n mov %[pause], %%rdi\n xor %%esi, %%esi\n syscall\n" /* nanosleep */                          \
      "or %%rax, %[interrupted]\n"                                                                                   \
      "decq %[sleeps]\n jnz 1b\n"                                                                                    \
      ".irp r,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n" store "\n.endr\n" end                                         \
      "stmxcsr %[control_after]\n fstpt %[x87]\n"                                                                    \
      : [sleeps] "+m"(burst.sleeps), [interrupted] "+m"(burst.interrupted),                                          \
        [control_after] "=m"(burst.control_after), [x87] "=m"(burst.x87)                                             \
      : [sums] "r"(&burst.sums), [steps] "r"(&burst.steps), [pause] "r"(&burst.pause), [control] "m"(burst.control), \
        [rounds] "i"(kRounds)                                                                                        \
      : "rax", "rcx", "rdi", "rsi", "r11", "r12", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",    \
        "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15")

void run_sse(Burst& burst) {
  BURST("movapd 32*\\r(%[sums]), %%xmm\\r", "addpd 32*\\r(%[steps]), %%xmm\\r", "movapd %%xmm\\r, 32*\\r(%[sums])",
        "");
}

void run_avx(Burst& burst) {
  BURST("vmovapd 32*\\r(%[sums]), %%ymm\\r", "vaddpd 32*\\r(%[steps]), %%ymm\\r, %%ymm\\r",
        "vmovapd %%ymm\\r, 32*\\r(%[sums])", "vzeroupper\n");
}

}  // namespace

void keep_registers() {
  const bool avx = __builtin_cpu_supports("avx");
  const int lanes = avx ? kLanes : 2;
  const uint32_t usual = _mm_getcsr();
  constexpr uint32_t kRoundUp = 0x4000;
  for (uint64_t bursts = 0;; ++bursts) {
    Burst burst;
    burst.control = usual | kRoundUp;
    for (int r = 0; r < kRegisters; ++r)
      for (int lane = 0; lane < kLanes; ++lane) {
        burst.sums.lanes[r][lane] = static_cast<double>(bursts);
        burst.steps.lanes[r][lane] = 1 + r * kLanes + lane;
      }
    avx ? run_avx(burst) : run_sse(burst);
    _mm_setcsr(usual);

    // Whole numbers far below 2^53: exact in whatever order they are added.
    for (int r = 0; r < kRegisters; ++r)
      for (int lane = 0; lane < lanes; ++lane) {
        double expected =
            static_cast<double>(bursts) + static_cast<double>(kSleeps * kRounds) * burst.steps.lanes[r][lane];
        if (burst.sums.lanes[r][lane] != expected)
          FAIL("register %d lane %d: %.17g instead of %.17g", r, lane, burst.sums.lanes[r][lane], expected);
      }
    constexpr uint32_t kSticky = 0x3f;  // flags of past exceptions
    if ((burst.control_after ^ burst.control) & ~kSticky)
      FAIL("MXCSR: %x instead of %x", burst.control_after, burst.control);
    long double pi;
    __asm__("fldpi" : "=t"(pi));
    if (memcmp(&pi, &burst.x87, 10) != 0) FAIL("x87: %.20Lg instead of pi", burst.x87);
    if (burst.interrupted) FAIL("nanosleep with live registers: %ld", static_cast<long>(burst.interrupted));
    ++progress.registers;
  }
}
