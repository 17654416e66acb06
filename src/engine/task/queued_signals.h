// SPDX-License-Identifier: LGPL-2.1-or-later
// Signals that are queued and not delivered yet, with all that sigqueue(3) gave them.
#pragma once

#include <fmt/format.h>
#include <signal.h>
#include <sys/syscall.h>

#include <cstring>
#include <string>

#include "base/result.h"
#include "engine/context/restoring.h"

namespace ks::engine {

inline std::string encode_signal(const siginfo_t& info) {
  return std::string(reinterpret_cast<const char*>(&info), sizeof info);
}

// Queues them again, in their order. The task itself makes the call: only from itself does the kernel accept what
// looks as if the kernel had sent it (rt_sigqueueinfo(2)).
template <class List>
Result<> queue_signals(const Restoring& restoring, RestoredProcess& process, RestoredThread& thread,
                       const List& signals, bool shared) {
  pid_t pid = restoring.nested.seen_by(process.pid, process.pid);
  pid_t tid = restoring.nested.seen_by(process.pid, thread.tid());
  for (const std::string& bytes : signals) {
    siginfo_t info;
    if (bytes.size() != sizeof info) return fail("a queued signal of the wrong size");
    std::memcpy(&info, bytes.data(), sizeof info);
    TRY(process.memory->write_value(process.scratch, info));
    auto queued = shared ? thread.calls(SYS_rt_sigqueueinfo, pid, info.si_signo, process.scratch)
                         : thread.calls(SYS_rt_tgsigqueueinfo, pid, tid, info.si_signo, process.scratch);
    TRY(in("queueing a signal", std::move(queued)));
  }
  return {};
}

}  // namespace ks::engine
