// SPDX-License-Identifier: LGPL-2.1-or-later
// Alternate signal stacks: one that is set, one that a thread is on when it is dumped, and one that the kernel
// takes away while it is in use (SS_AUTODISARM).
#include <thread>

#include "program.h"

static volatile int finish = 0, on_stack = 0;
static constexpr size_t kSize = 16 * kPage;

static bool within(const stack_t& stack, const void* address) {
  auto* start = static_cast<char*>(stack.ss_sp);
  return address >= start && address < start + stack.ss_size;
}
static stack_t current() {
  stack_t stack;
  CHECK(sigaltstack(nullptr, &stack) == 0);
  return stack;
}
static stack_t set_stack(int flags) {
  stack_t stack{.ss_sp = map_memory(kSize), .ss_flags = flags, .ss_size = kSize};
  CHECK(sigaltstack(&stack, nullptr) == 0);
  return stack;
}

static void handle(int, siginfo_t*, void*) {
  char here = 'h';
  stack_t stack = current();
  bool disarmed = stack.ss_flags & SS_DISABLE;
  CHECK(disarmed || ((stack.ss_flags & SS_ONSTACK) && within(stack, &here)));
  __atomic_fetch_add(&on_stack, 1, __ATOMIC_SEQ_CST);
  while (!finish) usleep(1000);
  stack_t after = current();
  CHECK(after.ss_flags == stack.ss_flags && after.ss_sp == stack.ss_sp && here == 'h');
}

static void use_stack(int flags) {
  stack_t stack = set_stack(flags);
  raise(SIGUSR1);
  stack_t after = current();
  CHECK(after.ss_sp == stack.ss_sp && after.ss_size == kSize && after.ss_flags == flags);
  raise(SIGUSR1);  // works again
}

int main() {
  struct sigaction action{};
  action.sa_sigaction = handle;
  action.sa_flags = SA_ONSTACK | SA_SIGINFO;
  CHECK(sigaction(SIGUSR1, &action, nullptr) == 0);
  std::thread plain(use_stack, 0), autodisarm(use_stack, static_cast<int>(1u << 31));
  stack_t mine = set_stack(0);
  while (on_stack < 2) usleep(1000);
  ready();
  CHECK(current().ss_sp == mine.ss_sp && current().ss_flags == 0);
  finish = 1;
  raise(SIGUSR1);
  plain.join();
  autodisarm.join();
  CHECK(on_stack == 5);
  return 0;
}
