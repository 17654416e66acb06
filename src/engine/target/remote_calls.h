// SPDX-License-Identifier: LGPL-2.1-or-later
// System calls made by another process on our behalf.
#pragma once

#include <concepts>
#include <type_traits>

#include "base/result.h"
#include "engine/kernel/x86_64/registers.h"
#include "engine/target/remote.h"
#include "engine/target/thread.h"

namespace ks::engine {

template <class T>
uint64_t as_argument(T value) {
  if constexpr (std::is_same_v<T, RemoteAddress>)
    return value.value;
  else
    return static_cast<uint64_t>(static_cast<int64_t>(value));  // -1 stays all ones
}

// A refusal if a thread with these filters would not survive the call at `instruction`, or if it has to be made and
// would not be.
Result<> check_filters(std::span<const SeccompFilter> filters, uint64_t instruction, long number,
                       const SyscallArguments& arguments, bool must_be_made);

struct RemoteCall {
  long number;
  SyscallArguments arguments{};
};

class RemoteCalls {
 public:
  // `instruction` is a system call instruction in the thread's memory; `base` are the registers for all that is
  // not an argument, the stack pointer above all. Under `filters`, which are suspended, only calls are made that
  // would do no harm were they not: so it is for a thread that is let go in the middle.
  RemoteCalls(SeizedThread& thread, const Registers& base, uint64_t instruction,
              std::span<const SeccompFilter> filters = {})
      : thread_(&thread), base_(base), instruction_(instruction), filters_(filters) {}

  // What the call returned; an error of the call itself comes with its errno.
  template <class... Arguments>
    requires(sizeof...(Arguments) <= 6)
  Result<uint64_t> operator()(long number, Arguments... arguments) {
    TRY(begin(number, SyscallArguments{as_argument(arguments)...}));
    return finish(number);
  }
  // The same in two steps: stopped on its way into the kernel, and back.
  Result<> begin(long number, const SyscallArguments& arguments);
  Result<uint64_t> finish(long number);
  // What the call returned, an error as its negative errno.
  Result<int64_t> outcome(const RemoteCall& call);
  // Of a process that job control has stopped: another SIGSTOP, which nothing can hold back, says nothing new, and is
  // taken out of the way. True: that has happened.
  void expect_stops() { expects_stops_ = true; }
  bool has_taken_stop() const { return has_taken_stop_; }
  SeizedThread& thread() { return *thread_; }
  uint64_t instruction() const { return instruction_; }
  void move_instruction(uint64_t to) { instruction_ = to; }
  const Registers& base() const { return base_; }
  // The thread is at the end of a call.
  bool used() const { return used_; }

 private:
  Result<> reach_syscall_stop();
  Result<int64_t> result(long number);

  SeizedThread* thread_;
  Registers base_;
  uint64_t instruction_;
  std::span<const SeccompFilter> filters_;
  bool used_ = false, expects_stops_ = false, has_taken_stop_ = false;
};

}  // namespace ks::engine
