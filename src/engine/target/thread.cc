// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/thread.h"

#include <elf.h>
#include <fmt/format.h>
#include <linux/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/backoff.h"
#include "base/file.h"
#include "engine/kernel/proc.h"

namespace ks::engine {

namespace {

// libc's ptrace() is variadic and its header collides with the kernel's; the system call itself is neither.
long trace(unsigned long request, pid_t tid, unsigned long address, const void* data) {
  return ::syscall(SYS_ptrace, request, tid, address, data);
}

const void* as_data(unsigned long value) { return reinterpret_cast<const void*>(value); }

constexpr unsigned long kGetRegs = 12, kSetRegs = 13, kPeekText = 1, kPokeText = 4, kCont = 7, kDetach = 17,
                        kSyscall = 24;
constexpr int kSyscallStop = SIGTRAP | 0x80;  // PTRACE_O_TRACESYSGOOD

// struct ptrace_sud_config and its request, which headers before 6.4 lack
struct DispatchConfiguration {
  uint64_t mode = 0, selector = 0, offset = 0, length = 0;
};
constexpr unsigned long kGetDispatch = 0x4211;

Result<bool> is_ending(pid_t tid) {
  constexpr uint32_t kExiting = 0x4;  // PF_EXITING (linux/sched.h)
  auto text = read_file(fmt::format("/proc/{}/stat", tid));
  return !text || (TRY(parse_stat(*text)).flags & kExiting) != 0;
}

constexpr timespec kLookAgain{.tv_sec = 0, .tv_nsec = 2'000'000};

static_assert(sizeof(RseqConfiguration) == sizeof(ptrace_rseq_configuration));

// One signal held back from this thread, so that it can be waited for.
class SignalBlock {
 public:
  explicit SignalBlock(int signal) {
    sigemptyset(&set_);
    sigaddset(&set_, signal);
    ::pthread_sigmask(SIG_BLOCK, &set_, &before_);
  }
  ~SignalBlock() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalBlock(const SignalBlock&) = delete;

  bool await(const timespec& limit) const { return ::sigtimedwait(&set_, nullptr, &limit) > 0; }

 private:
  sigset_t set_, before_;
};

}  // namespace

Result<> await_ends(std::vector<SeizedThread*> threads) {
  // Who else is in its namespace may have a parent who does not wait for him.
  constexpr std::chrono::seconds kEndLimit{10};
  Backoff backoff(Backoff::Clock::now() + kEndLimit);
  while (!threads.empty()) {
    Result<> trouble;
    size_t erased = std::erase_if(threads, [&](SeizedThread* thread) {
      SeizedThread::Stop stop;
      if (!thread->tid()) return true;
      auto stopped = thread->poll(stop);
      if (!stopped) trouble = std::unexpected(stopped.error());
      if (!stopped || !*stopped) return false;
      if (stop != SeizedThread::Stop::gone) (void)thread->resume(SIGKILL);
      return stop == SeizedThread::Stop::gone;
    });
    TRY(std::move(trouble));
    if (erased)
      backoff.start_anew();
    else if (!backoff.pause())
      return fail(fmt::format("pid {} does not end", threads.front()->tid()), ETIMEDOUT);
  }
  return {};
}

Result<bool> has_ended(pid_t tid) {
  auto text = read_file(fmt::format("/proc/{}/stat", tid));
  if (!text) return true;
  char state = TRY(parse_stat(*text)).state;
  return state == 'Z' || state == 'X';
}

SeizedThread::SeizedThread(SeizedThread&& other) noexcept
    : tid_(std::exchange(other.tid_, 0)), end_told_late_(other.end_told_late_), ends_last_(other.ends_last_) {}

SeizedThread& SeizedThread::operator=(SeizedThread&& other) noexcept {
  std::swap(tid_, other.tid_);
  std::swap(end_told_late_, other.end_told_late_);
  std::swap(ends_last_, other.ends_last_);
  return *this;
}

SeizedThread::~SeizedThread() {
  if (tid_) (void)detach();  // a thread that is not stopped is detached by the kernel at our end
}

Result<SeizedThread> SeizedThread::seize(pid_t tid) {
  if (trace(PTRACE_SEIZE, tid, 0, as_data(PTRACE_O_TRACESYSGOOD))) return fail_errno("seize");
  return SeizedThread(tid);
}

Result<> SeizedThread::interrupt() {
  if (trace(PTRACE_INTERRUPT, tid_, 0, nullptr)) return fail_errno("interrupt");
  return {};
}

Result<SeizedThread::Stop> SeizedThread::decode(int status, int* signal) {
  if (!WIFSTOPPED(status)) {
    tid_ = 0;
    return Stop::gone;
  }
  int stop_signal = WSTOPSIG(status);
  if (signal) *signal = stop_signal;
  if (status >> 16 == PTRACE_EVENT_STOP) return stop_signal == SIGTRAP ? Stop::event : Stop::group;
  if (stop_signal == kSyscallStop) return Stop::syscall;
  return Stop::signal;
}

// Of a leader that has ended the kernel tells nothing before its other threads are reaped, which may be ours to do
// later, so wait(2) alone could wait for ever. Every stop also sends us SIGCHLD, for which one can wait with a limit;
// where another thread takes it, or it is ignored, the limit is what ends the wait. (To look again and again instead,
// yielding, is 50 times as slow as soon as others want the CPU.)
Result<SeizedThread::Stop> SeizedThread::wait(int* signal) {
  Stop stop;
  if (!end_told_late_ && !ends_last_ && TRY(poll(stop, signal, 0))) return stop;
  return wait_until(std::chrono::steady_clock::time_point::max(), signal);
}

Result<SeizedThread::Stop> SeizedThread::wait_until(std::chrono::steady_clock::time_point limit, int* signal) {
  Stop stop;
  SignalBlock block(SIGCHLD);
  if (TRY(poll(stop, signal))) return stop;
  for (;;) {
    bool waited = block.await(kLookAgain);
    bool ended = !waited && (TRY(has_ended(tid_)) || (ends_last_ && TRY(is_ending(tid_))));
    if (TRY(poll(stop, signal))) return stop;
    if (!ended && !waited && std::chrono::steady_clock::now() > limit) return fail("does not stop", EAGAIN);
    if (!ended) continue;
    tid_ = 0;
    return Stop::gone;
  }
}

Result<bool> SeizedThread::poll(Stop& stop, int* signal) { return poll(stop, signal, WNOHANG); }

Result<bool> SeizedThread::poll(Stop& stop, int* signal, int wait_flags) {
  int status;
  pid_t got;
  do got = ::waitpid(tid_, &status, __WALL | wait_flags);
  while (got < 0 && errno == EINTR);
  if (got < 0) return fail_errno("wait");
  if (got == 0) return false;
  stop = TRY(decode(status, signal));
  return true;
}

Result<> SeizedThread::resume(int signal) {
  if (trace(kCont, tid_, 0, as_data(static_cast<unsigned long>(signal)))) return fail_errno("resume");
  return {};
}

Result<> SeizedThread::resume_to_syscall(int signal) {
  if (trace(kSyscall, tid_, 0, as_data(static_cast<unsigned long>(signal)))) return fail_errno("resume");
  return {};
}

void SeizedThread::give_back(int signal) const { ::syscall(SYS_tkill, tid_, signal); }

Result<> SeizedThread::detach() {
  // Of a thread that has not stopped yet the kernel keeps us the tracer.
  if (trace(kDetach, tid_, 0, nullptr)) return fail_errno("detach");
  tid_ = 0;
  return {};
}

Result<> SeizedThread::kill_with_us() {
  if (trace(PTRACE_SETOPTIONS, tid_, 0, as_data(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)))
    return fail_errno("set options");
  return {};
}

Result<Registers> SeizedThread::registers() const {
  Registers registers{};
  if (trace(kGetRegs, tid_, 0, &registers)) return fail_errno("reading registers");
  return registers;
}

Result<> SeizedThread::set_registers(const Registers& registers) {
  if (trace(kSetRegs, tid_, 0, &registers)) return fail_errno("setting registers");
  return {};
}

Result<std::vector<std::byte>> SeizedThread::xstate() const {
  std::vector<std::byte> state(16384);  // AMX needs 11 KiB
  iovec vector{state.data(), state.size()};
  // A processor without XSAVE has the FXSAVE registers alone.
  if (trace(PTRACE_GETREGSET, tid_, NT_X86_XSTATE, &vector) &&
      (errno != ENODEV || trace(PTRACE_GETREGSET, tid_, NT_PRFPREG, &vector)))
    return fail_errno("reading extended registers");
  if (vector.iov_len == state.size()) return fail("extended registers larger than expected");
  return std::vector(state.begin(), state.begin() + static_cast<ptrdiff_t>(vector.iov_len));  // no larger than it is
}

Result<> SeizedThread::set_xstate(std::span<const std::byte> xstate) {
  iovec vector{const_cast<std::byte*>(xstate.data()), xstate.size()};
  unsigned long set = xstate.size() == kFxsaveSize ? NT_PRFPREG : NT_X86_XSTATE;
  if (trace(PTRACE_SETREGSET, tid_, set, &vector)) return fail_errno("setting extended registers");
  return {};
}

Result<uint64_t> SeizedThread::signal_mask() const {
  uint64_t mask = 0;
  if (trace(PTRACE_GETSIGMASK, tid_, sizeof mask, &mask)) return fail_errno("reading the signal mask");
  return mask;
}

Result<> SeizedThread::set_signal_mask(uint64_t mask) {
  if (trace(PTRACE_SETSIGMASK, tid_, sizeof mask, &mask)) return fail_errno("setting the signal mask");
  return {};
}

Result<std::vector<siginfo_t>> SeizedThread::peek_signals(bool shared) const {
  std::vector<siginfo_t> signals;
  for (;;) {
    siginfo_t batch[32];
    ptrace_peeksiginfo_args arguments{.off = signals.size(),
                                      .flags = shared ? PTRACE_PEEKSIGINFO_SHARED : 0u,
                                      .nr = static_cast<int>(std::size(batch))};
    long got = trace(PTRACE_PEEKSIGINFO, tid_, reinterpret_cast<unsigned long>(&arguments), batch);
    if (got < 0) return fail_errno("reading pending signals");
    signals.insert(signals.end(), batch, batch + got);
    if (got < static_cast<long>(std::size(batch))) return signals;
  }
}

Result<RseqConfiguration> SeizedThread::rseq() const {
  RseqConfiguration configuration;
  if (trace(PTRACE_GET_RSEQ_CONFIGURATION, tid_, sizeof configuration, &configuration) < 0)
    return fail_errno("reading the rseq registration");
  return configuration;
}

Result<std::vector<SeccompFilter>> SeizedThread::seccomp_filters() const {
  std::vector<SeccompFilter> filters;
  for (;;) {
    unsigned long index = filters.size();
    long count = trace(PTRACE_SECCOMP_GET_FILTER, tid_, index, nullptr);
    if (count < 0 && errno == ENOENT) return filters;
    if (count < 0) return fail_errno("reading a seccomp filter");
    SeccompFilter filter;
    filter.code.resize(static_cast<size_t>(count));
    if (trace(PTRACE_SECCOMP_GET_FILTER, tid_, index, filter.code.data()) != count)
      return fail_errno("reading a seccomp filter");
    seccomp_metadata metadata{.filter_off = index};
    if (trace(PTRACE_SECCOMP_GET_METADATA, tid_, sizeof metadata, &metadata) < 0)
      return fail_errno("reading the flags of a seccomp filter");
    if (metadata.flags & ~uint64_t{SECCOMP_FILTER_FLAG_LOG}) return refuse("has a seccomp filter with unknown flags");
    filter.log = metadata.flags & SECCOMP_FILTER_FLAG_LOG;
    filters.push_back(std::move(filter));
  }
}

Result<> SeizedThread::suspend_seccomp(bool suspended, bool kill_with_us) {
  unsigned long options = PTRACE_O_TRACESYSGOOD;
  if (suspended) options |= PTRACE_O_SUSPEND_SECCOMP;
  if (kill_with_us) options |= PTRACE_O_EXITKILL;
  if (trace(PTRACE_SETOPTIONS, tid_, 0, as_data(options))) return fail_errno("suspending seccomp");
  return {};
}

Result<bool> SeizedThread::dispatches_calls() const {
  DispatchConfiguration configuration;
  if (trace(kGetDispatch, tid_, sizeof configuration, &configuration)) {
    if (errno == EIO) return false;
    return fail_errno("reading the system call dispatch");
  }
  return configuration.mode != 0;
}

Result<uint64_t> SeizedThread::peek_word(uint64_t address) const {
  uint64_t word = 0;  // the system call, unlike the library function, stores the word at `data`
  if (trace(kPeekText, tid_, address, &word)) return fail_errno(fmt::format("peek {:x}", address));
  return word;
}

Result<> SeizedThread::poke_word(uint64_t address, uint64_t word) {
  if (trace(kPokeText, tid_, address, as_data(word))) return fail_errno(fmt::format("poke {:x}", address));
  return {};
}

}  // namespace ks::engine
