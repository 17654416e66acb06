// SPDX-License-Identifier: LGPL-2.1-or-later
// Restartable sequences (rseq(2)): the C library's registration goes on, and a sequence that the dump falls into is
// aborted, so that no addition to a counter of the processor is lost.
#include <sched.h>
#include <sys/rseq.h>

#include <atomic>
#include <thread>

#include "program.h"

static struct alignas(64) Counter {
  int64_t value;
} counters[1024];

static struct rseq* area() {
  return reinterpret_cast<struct rseq*>(static_cast<char*>(__builtin_thread_pointer()) + __rseq_offset);
}

// Adds to this processor's counter; false: it was interrupted on the way.
static bool add_one(struct rseq* self) {
  uint32_t cpu = *static_cast<volatile uint32_t*>(&self->cpu_id);
  int64_t* at = &counters[cpu].value;
  asm volatile goto(
      ".pushsection __rseq_cs, \"aw\"\n"
      ".balign 32\n"
      "3: .long 0, 0\n"
      ".quad 1f, 2f - 1f, 4f\n"
      ".popsection\n"
      "lea 3b(%%rip), %%rax\n"
      "mov %%rax, 8(%[self])\n"
      "1: cmp %[cpu], 4(%[self])\n"
      "jne 5f\n"
      "mov (%[at]), %%rax\n"
      ".rept 40\n nop\n .endr\n"  // time to be caught in
      "inc %%rax\n"
      "mov %%rax, (%[at])\n"
      "2:\n"
      "jmp 6f\n"
      ".long 0x53053053\n"  // RSEQ_SIG, before the abort handler
      "4: jmp %l[aborted]\n"
      "5: jmp %l[aborted]\n"
      "6:\n"
      :
      : [self] "r"(self), [cpu] "r"(cpu), [at] "r"(at)
      : "rax", "memory", "cc"
      : aborted);
  return true;
aborted:
  return false;
}

int main() {
  if (__rseq_size == 0) skip("the C library does not register restartable sequences");
  constexpr int kThreads = 4;
  int64_t added[kThreads] = {};
  volatile bool finish = false;
  std::atomic<int> started = 0;
  std::thread threads[kThreads];
  for (int i = 0; i < kThreads; ++i)
    threads[i] = std::thread([&, i] {
      int64_t count = 0;
      ++started;
      while (!finish) count += add_one(area());
      added[i] = count;
    });
  while (started < kThreads) usleep(1000);
  ready();
  finish = true;
  int64_t sum = 0, total = 0;
  for (int i = 0; i < kThreads; ++i) {
    threads[i].join();
    sum += added[i];
  }
  for (auto& counter : counters) total += counter.value;
  CHECK(sum == total && sum > 0);
  // The registration is alive: the kernel goes on telling the processor.
  for (int cpu = 0; cpu < 2; ++cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<size_t>(cpu), &set);
    if (sched_setaffinity(0, sizeof set, &set)) continue;
    CHECK(*static_cast<volatile uint32_t*>(&area()->cpu_id) == static_cast<uint32_t>(cpu));
  }
  return 0;
}
