// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/task/clone.h"

#include <fmt/format.h>
#include <linux/sched.h>
#include <sys/syscall.h>

#include <chrono>
#include <thread>

namespace ks::engine {

Result<SeizedThread> remote_clone(RemoteCalls& caller, const RemoteMemory& memory, RemoteAddress scratch,
                                  uint64_t flags, int exit_signal, std::span<const pid_t> pids) {
  pid_t tid = pids.back();
  RemoteAddress wanted = scratch + sizeof(clone_args);
  clone_args arguments{.flags = flags | CLONE_PTRACE,
                       .exit_signal = static_cast<uint64_t>(exit_signal),
                       .set_tid = wanted.value,
                       .set_tid_size = pids.size()};
  TRY(memory.write_value(scratch, arguments));
  TRY(memory.write(wanted, std::as_bytes(pids)));
  auto made = caller(SYS_clone3, scratch, sizeof arguments);
  if (!made && made.error().code == EEXIST) return fail(fmt::format("pid {} is taken", tid), EEXIST);
  TRY(in(fmt::format("clone3 of pid {}", tid), std::move(made)));
  SeizedThread child = SeizedThread::adopt(tid);
  child.set_end_told_late(false);  // it is alone, or no leader
  auto stop = TRY(child.wait());
  if (stop != SeizedThread::Stop::event) return fail(fmt::format("pid {}: did not stop at birth", tid));
  return child;
}

namespace {

constexpr auto kTurnLimit = std::chrono::seconds(10);

// Of one that has come under a wrong number.
Result<> end_thread(SeizedThread thread, const RemoteCalls& caller) {
  if (TRY(thread.wait()) != SeizedThread::Stop::event) return fail("did not stop at birth");
  TRY(thread.set_registers(at_syscall(caller.base(), caller.instruction(), SYS_exit, {0})));
  TRY(thread.resume());
  while (TRY(thread.wait()) != SeizedThread::Stop::gone) TRY(thread.resume());
  return {};
}

Result<> reserve_again(pid_t tid, ReservedIds& reserved, std::chrono::steady_clock::time_point limit) {
  for (;;) {
    auto taken = reserved.reserve(tid);
    if (taken || taken.error().code != EEXIST) return taken;
    // Whoever was quicker may be one of many that live for moments only.
    if (std::chrono::steady_clock::now() > limit) return fail(fmt::format("pid {} is taken", tid), EEXIST);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

}  // namespace

Result<SeizedThread> remote_clone_in_turn(RemoteCalls& caller, const RemoteMemory& memory, RemoteAddress scratch,
                                          uint64_t flags, pid_t tid, ReservedIds& reserved) {
  TRY(memory.write_value(scratch, clone_args{.flags = flags | CLONE_PTRACE}));
  for (auto limit = std::chrono::steady_clock::now() + kTurnLimit;;) {
    TRY(caller.begin(SYS_clone3, {scratch.value, sizeof(clone_args)}));
    auto begun = reserved.begin_turn(tid);
    auto made = caller.finish(SYS_clone3);
    TRY(reserved.end_turn());
    TRY(std::move(begun));
    auto got = static_cast<pid_t>(TRY(in(fmt::format("clone3 of thread {}", tid), std::move(made))));
    SeizedThread child = SeizedThread::adopt(got);
    child.set_end_told_late(false);
    if (got == tid) {
      if (TRY(child.wait()) != SeizedThread::Stop::event)
        return fail(fmt::format("pid {}: did not stop at birth", tid));
      return child;
    }
    TRY(in(fmt::format("thread {} instead of {}", got, tid), end_thread(std::move(child), caller)));
    TRY(reserve_again(tid, reserved, limit));
  }
}

}  // namespace ks::engine
