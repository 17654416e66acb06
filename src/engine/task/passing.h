// SPDX-License-Identifier: LGPL-2.1-or-later
// A process that is there only to end, now or when all others are made.
#pragma once

#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/result.h"
#include "engine/context/restoring.h"

namespace ks::engine {

class Passing {
 public:
  Passing(SeizedThread thread, const RemoteCalls& parent, RemoteMemory memory)
      : thread_(std::move(thread), parent.base(), parent.instruction()), memory_(std::move(memory)) {}
  Passing(const Passing&) = delete;
  ~Passing() {
    if (thread_.tid()) (void)end_by(SIGKILL);
  }

  RemoteCalls& calls() { return thread_.calls; }
  const RemoteMemory& memory() const { return memory_; }

  Result<> exit(int status) {
    SeizedThread& hold = thread_.hold;
    TRY(hold.set_registers(
        at_syscall(calls().base(), calls().instruction(), SYS_exit_group, {static_cast<uint64_t>(status)})));
    TRY(hold.resume());
    return await_end(0);
  }
  Result<> end_by(int signal) {
    SeizedThread& hold = thread_.hold;
    if (signal != SIGKILL) {
      TRY(in("PR_SET_DUMPABLE", calls()(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0)));  // no core
      TRY(hold.set_signal_mask(0));
    }
    if (::kill(hold.tid(), signal)) return fail_errno("kill");
    if (signal != SIGKILL) TRY(hold.resume());
    return await_end(signal);
  }

 private:
  // The tracer hears of it first, then the parent may wait for it.
  Result<> await_end(int signal) {
    SeizedThread& hold = thread_.hold;
    for (;;) {
      int reported = 0;
      auto stop = TRY(hold.wait(&reported));
      if (stop == SeizedThread::Stop::gone) return {};
      TRY(hold.resume(stop == SeizedThread::Stop::signal && reported == signal ? signal : 0));
    }
  }

  RestoredThread thread_;
  RemoteMemory memory_;
};

}  // namespace ks::engine
