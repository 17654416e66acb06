// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/settle.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/syscall.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/file.h"
#include "engine/kernel/pagemap.h"

namespace ks::engine {

namespace {

using namespace std::chrono_literals;

constexpr int kMostSteps = 10000;  // 95 were the most ever seen
constexpr int kMostRuns = 1000;
constexpr int kMostHandlerRuns = 50;
constexpr uint64_t kSearchBytes = 64 * 1024;

// struct rseq_cs and the start of struct rseq (uapi linux/rseq.h)
struct CriticalSection {
  uint32_t version, flags;
  uint64_t start, length, abort;
};
constexpr uint64_t kCriticalSectionPointer = 8;

// Calls that a stop ends with EINTR although no handler runs (signal(7), "Interruption of system calls ... by stop
// signals").
bool ends_on_stop(long number) {
  switch (number) {
    case SYS_epoll_wait:
    case SYS_epoll_pwait:
    case SYS_epoll_pwait2:
    case SYS_rt_sigtimedwait:
    case SYS_semop:
    case SYS_semtimedop:
    case SYS_io_getevents:
    case SYS_io_pgetevents:
      return true;
  }
  return false;
}

Result<> reread(StoppedThread& thread) {
  thread.registers = TRY(thread.hold.registers());
  thread.mask = TRY(thread.hold.signal_mask());
  thread.xstate = TRY(thread.hold.xstate());
  return {};
}

// Until the stop that we have asked for; signals on the way reach the thread.
Result<> await_stop(StoppedThread& thread) {
  for (;;) {
    int signal = 0;
    switch (TRY(thread.hold.wait(&signal))) {
      case SeizedThread::Stop::gone:
        return fail("died under our hands", ESRCH);
      case SeizedThread::Stop::signal:
        TRY(thread.hold.resume(signal));
        break;
      case SeizedThread::Stop::syscall:
        TRY(thread.hold.resume());
        break;
      case SeizedThread::Stop::group:
      case SeizedThread::Stop::event:
        return reread(thread);
    }
  }
}

Result<> run_and_stop(StoppedThread& thread, std::chrono::microseconds run) {
  TRY(thread.hold.resume());
  std::this_thread::sleep_for(run);
  TRY(thread.hold.interrupt());
  return await_stop(thread);
}

// From a stop to the next without an instruction of the program between: the one asked for is due at once.
Result<> stop_anew(StoppedThread& thread) {
  TRY(thread.hold.interrupt());
  TRY(thread.hold.resume());
  return await_stop(thread);
}

Result<> step_out(StoppedProcess& process, StoppedThread& thread, const Vma& vdso) {
  auto inside = [&] { return thread.registers.rip >= vdso.start && thread.registers.rip < vdso.end; };
  if (!inside()) return {};
  // A step forces a SIGTRAP, which resets an ignored one and unblocks a blocked one; such a thread is run and stopped
  // until it happens to be outside.
  constexpr uint64_t trap = uint64_t{1} << (SIGTRAP - 1);
  if ((process.status.ignored | thread.mask) & trap) {
    for (int run = 0; inside(); ++run) {
      if (run == kMostRuns) return fail("does not leave the vDSO", EAGAIN);
      TRY(run_and_stop(thread, run % 16 * 10us));  // by itself a stop comes after the same few instructions
    }
    return {};
  }
  int signal = 0;
  for (int step = 0; inside(); ++step) {
    if (step == kMostSteps) return fail("does not leave the vDSO", EAGAIN);
    TRY(thread.hold.step(signal));  // into the handler of a signal that came at the last one
    auto stop = TRY(thread.hold.wait(&signal));
    if (stop == SeizedThread::Stop::gone) return fail("died under our hands", ESRCH);
    if (stop != SeizedThread::Stop::signal || signal == SIGTRAP) signal = 0;
    thread.registers = TRY(thread.hold.registers());
  }
  // Out of the step's stop into one in which a signal that came meanwhile is still undecided.
  return stop_anew(thread);
}

// Whether a signal handler that runs now has interrupted the vDSO. Its frame leads back into text that another kernel
// does not have.
Result<bool> interrupted_vdso(const StoppedProcess& process, const StoppedThread& thread, const Vma& vdso) {
  auto stack = std::ranges::find_if(process.areas, [&](const Vma& area) {
    return thread.registers.rsp >= area.start && thread.registers.rsp < area.end;
  });
  if (stack == process.areas.end() || process.status.caught == 0) return false;
  std::vector<uint64_t> words(kSearchBytes / sizeof(uint64_t));
  // Pieces overlap, so that no frame falls between two.
  for (uint64_t at = thread.registers.rsp & ~uint64_t{7}; at < stack->end;
       at += kSearchBytes - kFrameWords * sizeof(uint64_t)) {
    std::span piece(words.data(), std::min<uint64_t>(kSearchBytes, stack->end - at) / sizeof(uint64_t));
    TRY(process.memory->read({at}, std::as_writable_bytes(piece)));
    for (size_t i = 0; i + kFrameWords <= piece.size(); ++i) {
      auto address = frame_instruction(piece.subspan(i).first<kFrameWords>());
      if (address && *address >= vdso.start && *address < vdso.end) return true;
    }
  }
  return false;
}

Result<> abort_sequence(StoppedProcess& process, StoppedThread& thread) {
  if (!thread.rseq.address) return {};
  RemoteAddress pointer{thread.rseq.address + kCriticalSectionPointer};
  auto section_address = TRY(in("rseq", process.memory->read<uint64_t>(pointer)));
  if (!section_address) return {};
  auto section = TRY(in("rseq", process.memory->read<CriticalSection>({section_address})));
  if (thread.registers.rip - section.start >= section.length) return {};
  thread.registers.rip = section.abort;
  TRY(thread.hold.set_registers(thread.registers));
  return process.memory->write_value(pointer, uint64_t{0});
}

}  // namespace

Result<> settle(StoppedProcess& process, StoppedThread& thread) {
  if (is_compat(thread.registers)) return refuse("runs 32-bit code, which is not supported");
  if (const Vma* vdso = process.area_named("[vdso]")) {
    TRY(step_out(process, thread, *vdso));
    for (int run = 0; TRY(interrupted_vdso(process, thread, *vdso)); ++run) {
      if (run == kMostHandlerRuns) return refuse("runs a signal handler that has interrupted the vDSO; try again");
      TRY(run_and_stop(thread, 100us));
      TRY(step_out(process, thread, *vdso));
    }
  }
  TRY(abort_sequence(process, thread));
  if (in_syscall(thread.registers) && syscall_result(thread.registers) == -EINTR &&
      ends_on_stop(syscall_number(thread.registers))) {
    // What the kernel itself does for calls that restart unless a handler runs.
    thread.registers.rax = static_cast<unsigned long long>(-kRestartNoHand);
    TRY(thread.hold.set_registers(thread.registers));
  }
  return {};
}

Result<long> identify_restart(StoppedProcess& process, StoppedThread& thread) {
  std::string task = process.proc(fmt::format("task/{}/", thread.tid()));
  TRY(thread.hold.resume());
  std::string waits_in;
  for (auto limit = std::chrono::steady_clock::now() + 20ms; std::chrono::steady_clock::now() < limit;) {
    char state = TRY(parse_stat(TRY(read_file(task + "stat")))).state;
    if (state == 'S') {
      waits_in = TRY(read_file(task + "wchan"));
      break;
    }
    std::this_thread::sleep_for(50us);
  }
  TRY(thread.hold.interrupt());
  int signal = 0;
  auto stop = TRY(thread.hold.wait(&signal));
  while (stop == SeizedThread::Stop::signal) {
    TRY(thread.hold.resume(signal));
    stop = TRY(thread.hold.wait(&signal));
  }
  if (stop == SeizedThread::Stop::gone) return fail("died under our hands", ESRCH);
  TRY(reread(thread));
  if (waits_in.find("nanosleep") != std::string::npos)
    // The two differ in where they keep the time: a clock's number is no address.
    return syscall_argument(thread.registers, 0) < kPageSize ? SYS_clock_nanosleep : SYS_nanosleep;
  if (waits_in.find("poll") != std::string::npos) return SYS_poll;
  if (waits_in.find("futex") != std::string::npos) return SYS_futex;
  return 0;
}

}  // namespace ks::engine
