// SPDX-License-Identifier: LGPL-2.1-or-later
// A long computation that notices if a checkpoint, a restore or another kernel has changed anything under its hands.
// Each second it prints a line of KEY=VALUE; a line that begins with FAIL says what went wrong.
#include <thread>

#include "partner.h"
#include "report.h"
#include "workers.h"

namespace {

void print_progress(uint64_t line) {
  const int64_t at = now(CLOCK_REALTIME), up = now(CLOCK_MONOTONIC);
  dprintf(1,
          "counter line=%lu at=%ld.%03ld up=%ld.%03ld ticks=%lu registers=%lu handoffs=%lu messages=%lu hashes=%lu "
          "worst_late_ms=%ld failures=%lu\n",
          line, at / kSecond, at % kSecond / kMillisecond, up / kSecond, up % kSecond / kMillisecond,
          progress.ticks.load(), progress.registers.load(), progress.handoffs.load(), progress.messages.load(),
          progress.hashes.load(), progress.worst_late.load() / kMillisecond, progress.failures.load());
}

}  // namespace

int main() {
  Partner partner = Partner::start();
  Notes notes;
  std::jthread workers[] = {std::jthread(keep_deadlines), std::jthread(keep_registers), std::jthread(give_turns),
                            std::jthread(take_turns)};
  int64_t next = now(CLOCK_MONOTONIC);
  for (uint64_t line = 1;; ++line) {
    for (; now(CLOCK_MONOTONIC) < next; sleep_for(50 * kMillisecond)) {
      partner.exchange();
      notes.check_next_piece();
    }
    print_progress(line);
    next += kSecond;
  }
}
