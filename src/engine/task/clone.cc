// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/task/clone.h"

#include <fmt/format.h>
#include <linux/sched.h>
#include <sys/syscall.h>

namespace ks::engine {

Result<SeizedThread> remote_clone(RemoteCalls& caller, const RemoteMemory& memory, RemoteAddress scratch,
                                  uint64_t flags, int exit_signal, pid_t tid) {
  RemoteAddress wanted = scratch + sizeof(clone_args);
  clone_args arguments{.flags = flags | CLONE_PTRACE,
                       .exit_signal = static_cast<uint64_t>(exit_signal),
                       .set_tid = wanted.value,
                       .set_tid_size = 1};
  TRY(memory.write_value(scratch, arguments));
  TRY(memory.write_value(wanted, tid));
  auto made = caller(SYS_clone3, scratch, sizeof arguments);
  if (!made && made.error().code == EEXIST) return fail(fmt::format("pid {} is taken", tid), EEXIST);
  TRY(in(fmt::format("clone3 of pid {}", tid), std::move(made)));
  SeizedThread child = SeizedThread::adopt(tid);
  auto stop = TRY(child.wait());
  if (stop != SeizedThread::Stop::event) return fail(fmt::format("pid {}: did not stop at birth", tid));
  return child;
}

}  // namespace ks::engine
