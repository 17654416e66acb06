// SPDX-License-Identifier: LGPL-2.1-or-later
// One thread of another process under ptrace(2). Every request comes from the thread that seized it.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/result.h"
#include "engine/kernel/seccomp.h"
#include "engine/kernel/x86_64/registers.h"

namespace ks::engine {

// struct ptrace_rseq_configuration
struct RseqConfiguration {
  uint64_t address = 0;
  uint32_t size = 0, signature = 0, flags = 0, padding = 0;
};

class SeizedThread {
 public:
  enum class Stop { event, group, syscall, signal, gone };

  // Does not stop it. An error with ESRCH: it has ended meanwhile.
  static Result<SeizedThread> seize(pid_t tid);
  // A child that clone3 with CLONE_PTRACE has handed to us; it waits to be stopped.
  static SeizedThread adopt(pid_t tid) { return SeizedThread(tid); }

  SeizedThread(SeizedThread&& other) noexcept;
  SeizedThread& operator=(SeizedThread&& other) noexcept;
  ~SeizedThread();  // detaches: the thread runs on

  pid_t tid() const { return tid_; }

  Result<> interrupt();
  // Waits for the next stop or the end, of a leader also when its other threads live on. `signal` is what is about to
  // be delivered at a Stop::signal.
  Result<Stop> wait(int* signal = nullptr);
  // The same, for one that may have gone where it cannot be stopped. An error with EAGAIN: the limit has passed.
  Result<Stop> wait_until(std::chrono::steady_clock::time_point limit, int* signal = nullptr);
  // Of a leader with other threads the kernel tells the end only when those are reaped, so that wait() must not rely
  // on it, which costs. So it is taken to be until told otherwise.
  void set_end_told_late(bool late) { end_told_late_ = late; }
  // The first process of a PID namespace ends only when all others there are reaped, which may be ours to do. One
  // that is about to end does not stop any more, and wait() takes it to have ended. Not for who waits for its very
  // end.
  void set_ends_last(bool last) { ends_last_ = last; }
  // As wait(), or nothing yet (Stop::gone is a stop too).
  Result<bool> poll(Stop& stop, int* signal = nullptr);

  Result<> resume(int signal = 0);
  Result<> resume_to_syscall(int signal = 0);
  // Sends again what a stop has taken from it.
  void give_back(int signal) const;
  Result<> detach();
  // The kernel kills the thread should this program end.
  Result<> kill_with_us();
  // Not ours any more: it is dead, or somebody else's.
  void forget() { tid_ = 0; }

  Result<Registers> registers() const;
  Result<> set_registers(const Registers& registers);
  Result<std::vector<std::byte>> xstate() const;
  Result<> set_xstate(std::span<const std::byte> xstate);
  Result<uint64_t> signal_mask() const;
  Result<> set_signal_mask(uint64_t mask);
  // Queued signals, not consumed: the thread's own or those of its process.
  Result<std::vector<siginfo_t>> peek_signals(bool shared) const;
  Result<RseqConfiguration> rseq() const;
  // Oldest first. Needs CAP_SYS_ADMIN, and that this program has none itself.
  Result<std::vector<SeccompFilter>> seccomp_filters() const;
  // Filters do not count as long as this program is its tracer.
  Result<> suspend_seccomp(bool suspended, bool kill_with_us = false);
  // PR_SET_SYSCALL_USER_DISPATCH is on. Kernels before 6.4 do not tell, and then it is false.
  Result<bool> dispatches_calls() const;
  // One aligned word, whatever its page's protection; the page becomes private to the process.
  Result<uint64_t> peek_word(uint64_t address) const;
  Result<> poke_word(uint64_t address, uint64_t word);

 private:
  explicit SeizedThread(pid_t tid) : tid_(tid) {}
  Result<Stop> decode(int status, int* signal);
  Result<bool> poll(Stop& stop, int* signal, int wait_flags);
  pid_t tid_ = 0;
  bool end_told_late_ = true, ends_last_ = false;
};

// Returns when these threads, which are being killed, are gone, in whatever order: the one that ends last of the
// first process of a PID namespace waits until the others are reaped.
Result<> await_ends(std::vector<SeizedThread*> threads);
// The same of all threads of a process, each with its `hold`.
template <class Threads>
Result<> await_ends_of(Threads& threads) {
  std::vector<SeizedThread*> holds;
  holds.reserve(threads.size());
  for (auto& thread : threads) holds.push_back(&thread.hold);
  return await_ends(std::move(holds));
}

// Dead, reaped or not.
Result<bool> has_ended(pid_t tid);

// All but SIGTRAP, which ptrace needs. (SIGKILL and SIGSTOP cannot be blocked.)
inline constexpr uint64_t kAllSignals = ~(uint64_t{1} << (SIGTRAP - 1));

}  // namespace ks::engine
