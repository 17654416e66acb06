// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/foothold.h"

#include <elf.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstring>

#include "base/file.h"

namespace ks::engine {

namespace {

// From the bottom: room for the kernel to deliver a signal to a thread that has just been let go at its frame; the
// frame (11 KiB with AMX); the scratch area; the frames of a chain.
constexpr uint64_t kHeadroom = 8192, kFrameRoom = 16384, kChainRoom = 8192;
constexpr uint64_t kTotal = kHeadroom + kFrameRoom + Foothold::kScratchSize + kChainRoom;
constexpr size_t kChainLength = kChainRoom / kBareFrameSize - 1;

constexpr uint64_t kIdentWord = EI_ABIVERSION;  // and the padding: one word, written at once
static_assert(EI_NIDENT == kIdentWord + kLandingCode.size() && kLandingCode.size() == sizeof(uint64_t));

// A signal that does nothing to the thread, whether somebody traces it or not, and that nobody else can be waiting
// for: not caught, not blocked, nothing by default. 0: there is none.
int harmless_signal(const StoppedProcess& process, const StoppedThread& thread) {
  const Status& status = process.status;
  // In a PID namespace of its own it knows itself under another number.
  if (status.ns_pids.size() > 1) return 0;
  if (process.has_another_stop()) return 0;  // which would come between
  // rt_sigreturn(2) forgets what was to be restarted, which would then end with EINTR.
  if (in_syscall(thread.registers) && syscall_result(thread.registers) == -kRestartBlock) return 0;
  for (int signal : {SIGURG, SIGWINCH}) {
    uint64_t bit = uint64_t{1} << (signal - 1);
    if (!((status.caught | status.pending | status.shared_pending | thread.mask) & bit)) return signal;
  }
  return 0;
}

bool all_zero(std::span<const std::byte> bytes) {
  return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

Result<bool> is_unused(const RemoteMemory& memory, uint64_t base) {
  std::vector<std::byte> bytes(kTotal);
  TRY(memory.read({base}, bytes));
  return all_zero(bytes);
}

Result<uint64_t> find_stack_pages(const StoppedProcess& process) {
  const Vma* stack = process.area_named("[stack]");
  if (stack && stack->protection_key)
    return refuse("its main stack, which is where we make system calls from, has a protection key");
  if (!stack || !stack->has("gd") || !stack->has("wr") || stack->size() < kTotal)
    return refuse("its main stack is gone, which is where we make system calls from");
  if (TRY(is_unused(*process.memory, stack->start))) return stack->start;
  // Writing below a stack grows it, like a push would.
  uint64_t base = stack->start - kTotal;
  TRY(in("growing the main stack", process.memory->poke({base}, std::byte{0})));
  return base;
}

}  // namespace

Foothold::Foothold(StoppedProcess& process, uint64_t code, uint64_t base)
    : process_(&process), code_(code), base_(base) {}

Foothold::Foothold(Foothold&& other) noexcept
    : process_(std::exchange(other.process_, nullptr)),
      code_(other.code_),
      base_(other.base_),
      stop_taken_(other.stop_taken_),
      current_(std::exchange(other.current_, nullptr)),
      calls_(other.calls_),
      companion_(std::move(other.companion_)) {}

Foothold::~Foothold() {
  if (process_) (void)abandon();
}

Result<Foothold> Foothold::establish(StoppedProcess& process) {
  const Vma* vdso = process.area_named("[vdso]");
  if (!vdso) return refuse("it has no vDSO, which is where we make system calls from");
  // The kernel would not read a frame for a thread that may not do so.
  constexpr uint32_t kKeyless = 3;
  for (const StoppedThread& thread : process.threads)
    if (protection_rights(thread.xstate) & kKeyless)
      return refuse(
          fmt::format("thread {} denies itself memory without a protection key (PKRU), from where we make "
                      "system calls",
                      thread.tid()));
  uint64_t base = TRY(find_stack_pages(process));
  uint64_t word_address = vdso->start + kIdentWord;
  uint64_t original = TRY(process.leader().hold.peek_word(word_address)), code_word = 0;
  std::memcpy(&code_word, kLandingCode.data(), kLandingCode.size());
  if (original && original != code_word)  // which an engine that was killed leaves
    return refuse("the header of its vDSO is in use by somebody else");
  TRY(process.leader().hold.poke_word(word_address, code_word));
  return Foothold(process, word_address, base);
}

RemoteAddress Foothold::scratch() const { return {base_ + kHeadroom + kFrameRoom}; }

Result<RemoteCalls*> Foothold::on(StoppedThread& thread) {
  if (current_ != &thread) {
    TRY(leave());
    TRY(enter(thread));
  }
  return &*calls_;
}

Result<> Foothold::enter(StoppedThread& thread) {
  // Let go, it returns from the frame by this call.
  uint64_t last_call = code_ + kLandingCode.size() - kSyscallLength;
  TRY(check_filters(thread.filters, last_call, SYS_rt_sigreturn, {}, true));
  uint64_t frame = base_ + kHeadroom;
  auto stat = read_file(process_->proc(fmt::format("task/{}/stat", thread.tid())));
  if (auto parsed = stat ? parse_stat(*stat) : Result<StatLine>(fail("gone")))
    companion_.follow_to(parsed->processor);
  auto bytes = signal_frame(frame, restarted(thread.registers), thread.mask, thread.xstate);
  if (bytes.size() > kFrameRoom) return fail("signal frame larger than expected");
  TRY(process_->memory->write({frame}, bytes));
  Registers landing = thread.registers;
  landing.rip = code_ + kLandingReturn;
  landing.rsp = frame + kFrameStack;
  landing.rax = 0;
  landing.orig_rax = ~0ull;
  // In this order a thread that is let go between has either its own state or a frame that leads there.
  TRY(thread.hold.set_registers(landing));
  current_ = &thread;
  if (!thread.filters.empty()) TRY(thread.hold.suspend_seccomp(true));
  TRY(thread.hold.set_signal_mask(kAllSignals));
  calls_.emplace(thread.hold, landing, code_, thread.filters);
  if (thread.stop_signal) calls_->expect_stops();
  return {};
}

bool Foothold::permits(const StoppedThread& thread, const RemoteCall& call) const {
  return check_filters(thread.filters, code_, call.number, call.arguments, false).has_value();
}

StoppedThread& Foothold::quickest() {
  auto able =
      std::ranges::find_if(process_->threads, [&](auto& thread) { return harmless_signal(*process_, thread); });
  return able == process_->threads.end() ? process_->leader() : *able;
}

Result<std::vector<int64_t>> Foothold::make_all(StoppedThread& thread, std::span<const RemoteCall> calls) {
  std::vector<int64_t> results;
  RemoteCalls& one = *TRY(on(thread));
  int signal = harmless_signal(*process_, thread);
  if (!signal)
    for (const RemoteCall& call : calls) results.push_back(TRY(one.outcome(call)));
  while (results.size() < calls.size()) {
    auto rest = calls.subspan(results.size());
    TRY(run_chain(thread, rest.first(std::min(rest.size(), kChainLength)), signal, results));
  }
  return results;
}

Result<std::vector<int64_t>> Foothold::make_and_undo(StoppedThread& thread, std::span<const RemoteCall> calls,
                                                     const RemoteCall& undo) {
  std::vector<int64_t> results;
  RemoteCalls& one = *TRY(on(thread));
  if (harmless_signal(*process_, thread)) {
    std::vector<RemoteCall> all(calls.begin(), calls.end());
    all.push_back(undo);
    results = TRY(make_all(thread, all));
    results.pop_back();
    return results;
  }
  // Let go, the thread returns from a frame that makes the call, and from there to its own.
  uint64_t here = scratch().value + kScratchSize;
  Registers undoing = at_syscall(one.base(), code_, undo.number, undo.arguments);
  undoing.rsp = base_ + kHeadroom + kFrameStack;
  TRY(check_filters(thread.filters, code_, undo.number, undo.arguments, true));
  TRY(process_->memory->write({here}, bare_signal_frame(base_ + kHeadroom, undoing, kAllSignals, thread.xstate)));
  Registers base = one.base();
  base.rsp = here + kFrameStack;
  RemoteCalls guarded(thread.hold, base, code_, thread.filters);
  Result<> trouble;
  for (const RemoteCall& call : calls) {
    auto result = guarded.outcome(call);
    if (!result) {
      trouble = std::unexpected(result.error());
      break;
    }
    results.push_back(*result);
  }
  auto undone = one.outcome(undo);
  TRY(std::move(trouble));
  TRY(std::move(undone));
  return results;
}

// The last call of a chain sends the thread a signal, for which only a traced thread stops.
Result<> Foothold::run_chain(StoppedThread& thread, std::span<const RemoteCall> calls, int signal,
                             std::vector<int64_t>& results) {
  std::vector<RemoteCall> chain(calls.begin(), calls.end());
  chain.push_back(
      {SYS_tgkill,
       {static_cast<uint64_t>(process_->pid), static_cast<uint64_t>(thread.tid()), static_cast<uint64_t>(signal)}});
  uint64_t first = scratch().value + kScratchSize;
  std::vector<std::byte> frames;
  for (size_t i = 0; i < chain.size(); ++i) {
    TRY(check_filters(thread.filters, code_, chain[i].number, chain[i].arguments, false));
    bool last = i + 1 == chain.size();
    Registers registers = at_syscall(calls_->base(), code_, chain[i].number, chain[i].arguments);
    uint64_t here = first + frames.size();
    registers.rsp = (last ? base_ + kHeadroom : here + kBareFrameSize) + kFrameStack;
    uint64_t mask = last ? kAllSignals & ~(uint64_t{1} << (signal - 1)) : kAllSignals;
    auto frame = bare_signal_frame(base_ + kHeadroom, registers, mask, thread.xstate);
    frames.insert(frames.end(), frame.begin(), frame.end());
  }
  TRY(process_->memory->write({first}, frames));
  Registers start = calls_->base();
  start.rsp = first + kFrameStack;
  TRY(thread.hold.set_registers(start));
  TRY(thread.hold.resume());
  int came = 0;
  auto stop = TRY(thread.hold.wait(&came));
  while (stop == SeizedThread::Stop::group || stop == SeizedThread::Stop::event) {
    TRY(thread.hold.resume());
    stop = TRY(thread.hold.wait(&came));
  }
  if (stop == SeizedThread::Stop::gone) return fail("died under our hands", ESRCH);
  TRY(thread.hold.set_signal_mask(kAllSignals));
  if (stop != SeizedThread::Stop::signal || came != signal) {
    thread.hold.give_back(came);
    return fail("a signal came between", EINTR);
  }
  TRY(process_->memory->read({first}, frames));
  for (size_t i = 0; i < calls.size(); ++i) {
    int64_t result = 0;
    std::memcpy(&result, frames.data() + (i + 1) * kBareFrameSize + kFrameResult, sizeof result);
    results.push_back(result);
  }
  return {};
}

Result<> Foothold::leave() {
  if (!current_) return {};
  StoppedThread& thread = *std::exchange(current_, nullptr);
  bool used = calls_ && calls_->used();
  stop_taken_ |= calls_ && calls_->has_taken_stop();
  calls_.reset();
  if (!thread.hold.tid()) return {};  // died
  if (used) {
    // A restart of the interrupted call happens only on the way out of a stop inside signal delivery, and after our
    // last call the thread is in a system call stop.
    TRY(thread.hold.interrupt());
    TRY(thread.hold.resume());
    int signal = 0;
    auto stop = TRY(thread.hold.wait(&signal));
    while (stop == SeizedThread::Stop::signal) {
      TRY(thread.hold.resume(signal));
      stop = TRY(thread.hold.wait(&signal));
    }
    if (stop == SeizedThread::Stop::gone) return fail("died under our hands", ESRCH);
  }
  // What it may do when it runs on is again for its filters to say.
  if (!thread.filters.empty()) TRY(thread.hold.suspend_seccomp(false));
  TRY(thread.hold.set_signal_mask(thread.mask));
  return thread.hold.set_registers(thread.registers);
}

Result<> Foothold::abandon() {
  StoppedProcess& process = *std::exchange(process_, nullptr);
  auto left = leave();
  if (!process.leader().hold.tid()) return left;
  std::vector<std::byte> zeros(kTotal);
  auto wiped = process.memory->write({base_}, zeros);
  auto restored = process.leader().hold.poke_word(code_, 0);
  // Without it nobody but a reader of /proc would miss it: SIGCONT discards it.
  if (stop_taken_) ::kill(process.pid, SIGSTOP);
  TRY(std::move(left));
  TRY(std::move(wiped));
  return restored;
}

}  // namespace ks::engine
