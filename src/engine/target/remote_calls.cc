// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/remote_calls.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>

namespace ks::engine {

Result<> check_filters(std::span<const SeccompFilter> filters, uint64_t instruction, long number,
                       const SyscallArguments& arguments, bool must_be_made) {
  if (filters.empty()) return {};
  seccomp_data call{.nr = static_cast<int>(number),
                    .arch = kAuditArchitecture,
                    .instruction_pointer = instruction + kSyscallLength,
                    .args = {}};
  std::ranges::copy(arguments, call.args);
  uint32_t action = TRY(filtered_action(filters, call));
  if (must_be_made ? is_allowed(action) : is_harmless(action)) return {};
  return refuse(
      fmt::format("its seccomp filter would end it if the checkpoint were interrupted (in system call {})", number));
}

Result<> RemoteCalls::begin(long number, const SyscallArguments& arguments) {
  TRY(check_filters(filters_, instruction_, number, arguments, false));
  used_ = true;
  TRY(thread_->set_registers(at_syscall(base_, instruction_, number, arguments)));
  return in(fmt::format("remote system call {}", number), reach_syscall_stop());
}

Result<int64_t> RemoteCalls::result(long number) {
  TRY(in(fmt::format("remote system call {}", number), reach_syscall_stop()));
  return syscall_result(TRY(thread_->registers()));
}

Result<uint64_t> RemoteCalls::finish(long number) {
  int64_t returned = TRY(result(number));
  if (is_error(returned))
    return fail_errno(fmt::format("remote system call {}", number), static_cast<int>(-returned));
  return static_cast<uint64_t>(returned);
}

Result<int64_t> RemoteCalls::outcome(const RemoteCall& call) {
  TRY(begin(call.number, call.arguments));
  return result(call.number);
}

// Stepping over the instruction would be quicker, but forces a SIGTRAP on the thread, which takes away an ignored
// or blocked one; and a thread let go in the middle of a step dies of it.
Result<> RemoteCalls::reach_syscall_stop() {
  int signal = 0;
  TRY(thread_->resume_to_syscall());
  auto reached = TRY(thread_->wait(&signal));
  auto is_stop_again = [&] { return expects_stops_ && reached == SeizedThread::Stop::signal && signal == SIGSTOP; };
  // A job-control stop that was under way comes first; what follows it is ours.
  while (reached == SeizedThread::Stop::group || reached == SeizedThread::Stop::event || is_stop_again()) {
    has_taken_stop_ |= is_stop_again();
    TRY(thread_->resume_to_syscall());
    reached = TRY(thread_->wait(&signal));
  }
  if (reached == SeizedThread::Stop::gone) return fail("died under our hands", ESRCH);
  if (reached == SeizedThread::Stop::syscall) return {};
  thread_->give_back(signal);
  return fail(for_now("a signal came between"), EINTR);
}

}  // namespace ks::engine
