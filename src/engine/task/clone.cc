// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/task/clone.h"

#include <fmt/format.h>
#include <linux/sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <chrono>
#include <thread>

#include "engine/kernel/namespace.h"
#include "engine/kernel/pid_namespace.h"

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
  TRY(clone_as(tid, [&] { return caller(SYS_clone3, scratch, sizeof arguments); }));
  SeizedThread child = SeizedThread::adopt(tid);
  child.set_end_told_late(false);  // it is alone, or no leader
  auto stop = TRY(child.wait());
  if (stop != SeizedThread::Stop::event) return fail(fmt::format("pid {}: did not stop at birth", tid));
  return child;
}

Result<> end_thread(SeizedThread thread, const RemoteCalls& caller) {
  if (TRY(thread.wait()) != SeizedThread::Stop::event) return fail("did not stop at birth");
  TRY(thread.set_registers(at_syscall(caller.base(), caller.instruction(), SYS_exit, {0})));
  TRY(thread.resume());
  while (TRY(thread.wait()) != SeizedThread::Stop::gone) TRY(thread.resume());
  return {};
}

namespace {

constexpr auto kTurnLimit = std::chrono::seconds(30);

Result<> reserve_again(pid_t tid, ReservedIds& reserved, std::chrono::steady_clock::time_point limit) {
  for (;;) {
    auto taken = reserved.reserve(tid);
    if (taken || taken.error().code != EEXIST) return taken;
    // Whoever was quicker may be one of many that live for moments only.
    if (std::chrono::steady_clock::now() > limit) return fail(fmt::format("pid {} is taken", tid), EEXIST);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

// The caller knows it by a number of its own PID namespace; ours is that of the only one with news for us.
Result<pid_t> newborn() {
  siginfo_t info{};
  while (::waitid(P_ALL, 0, &info, WSTOPPED | WNOWAIT | __WALL | __WNOTHREAD))
    if (errno != EINTR) return fail_errno("wait");
  return info.si_pid;
}

}  // namespace

Result<SeizedThread> remote_clone_in_turn(RemoteCalls& caller, const RemoteMemory& memory, RemoteAddress scratch,
                                          uint64_t flags, int exit_signal, const NewNumbers& numbers,
                                          ReservedIds& reserved,
                                          const std::function<Result<>(SeizedThread)>& discard) {
  RemoteAddress chosen = scratch + sizeof(clone_args);
  TRY(memory.write_value(scratch, clone_args{.flags = flags | CLONE_PTRACE,
                                             .exit_signal = static_cast<uint64_t>(exit_signal),
                                             .set_tid = numbers.chosen.empty() ? 0 : chosen.value,
                                             .set_tid_size = numbers.chosen.size()}));
  TRY(memory.write(chosen, std::as_bytes(std::span(numbers.chosen))));
  for (auto limit = std::chrono::steady_clock::now() + kTurnLimit;;) {
    // Between ours and those that may be chosen nobody else is running.
    for (const PidLevel& level : numbers.counted)
      TRY(set_last_pid(TRY(open_namespace(level.first, "pid")).get(), level.number - 1));
    TRY(caller.begin(SYS_clone3, {scratch.value, sizeof(clone_args)}));
    auto begun = reserved.begin_turn(numbers.pid);
    auto made = caller.finish(SYS_clone3);
    TRY(reserved.end_turn());
    TRY(std::move(begun));
    TRY(in(fmt::format("clone3 of {}", numbers.pid), std::move(made)));
    auto got = TRY(newborn());
    SeizedThread child = SeizedThread::adopt(got);
    child.set_end_told_late(false);
    if (got == numbers.pid) {
      if (TRY(child.wait()) != SeizedThread::Stop::event)
        return fail(fmt::format("pid {}: did not stop at birth", got));
      return child;
    }
    TRY(in(fmt::format("{} instead of {}", got, numbers.pid), discard(std::move(child))));
    TRY(reserve_again(numbers.pid, reserved, limit));
  }
}

}  // namespace ks::engine
