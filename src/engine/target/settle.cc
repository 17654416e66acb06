// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/settle.h"

#include <elf.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <chrono>

#include "base/backoff.h"
#include "base/file.h"
#include "engine/kernel/pagemap.h"
#include "engine/kernel/vdso.h"
#include "engine/target/moves.h"
#include "engine/target/remaining.h"

namespace ks::engine {

namespace {

using namespace std::chrono_literals;

constexpr auto kHandlerLimit = 1s, kVdsoLimit = 5s;  // for which the others wait
constexpr int kMostFollows = 10;
constexpr uint64_t kSearchBytes = 64 * 1024;

// struct rseq_cs and the start of struct rseq (uapi linux/rseq.h)
struct CriticalSection {
  uint32_t version, flags;
  uint64_t start, length, abort;
};
constexpr uint64_t kCriticalSectionPointer = 8;

bool contains(const Vma& area, uint64_t address) { return address >= area.start && address < area.end; }

// Whether a signal handler that runs now has interrupted the vDSO. Its frame leads back into text that another kernel
// does not have.
Result<bool> interrupted_vdso(const StoppedProcess& process, const StoppedThread& thread,
                              std::span<const Vma> texts) {
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
      if (address && std::ranges::any_of(texts, [&](const Vma& text) { return contains(text, *address); }))
        return true;
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

// A number of clock_gettime(2), which is negative for the clocks of processes and counts with 32 bits only.
bool is_clock(uint64_t argument) {
  return argument < kPageSize || ((argument >> 31 & 1) && (argument >> 32 == 0 || argument >> 32 == 0xffffffff));
}

// What a thread that waits in restart_syscall(2) waits for, told by where in the kernel it does. 0: it does not tell.
// Only sleeps, poll(2) and futex(2) have a restart block (kernel: users of set_restart_fn), and only the sleeps'
// function can be compiled to leave no trace of its own between the system call's entry and the scheduler.
long restarted_call(std::string_view waits_in, const Registers& registers) {
  auto within = [&](std::string_view function) { return waits_in.find(function) != waits_in.npos; };
  if (within("poll")) return SYS_poll;
  if (within("futex")) return SYS_futex;
  if (within("nanosleep") || within("nsleep") || within("restart_syscall") || waits_in == "do_syscall_64")
    // The two differ in where they keep the time: a clock's number is no address.
    return is_clock(syscall_argument(registers, 0)) ? SYS_clock_nanosleep : SYS_nanosleep;
  return 0;
}

bool restarts(const Registers& registers) {
  return in_syscall(registers) && syscall_result(registers) == -kRestartBlock;
}

// Between two stops, with the restart_syscall(2) still to come that the first one has led to.
Result<bool> is_about_to_restart(const StoppedProcess& process, const Registers& registers) {
  if (registers.rax != SYS_restart_syscall) return false;
  std::array<std::byte, kSyscallLength> code{};
  if (!process.memory->read({registers.rip}, code)) return false;
  return find_syscall(code) == 0;
}

// A call that has been restarted before shows as restart_syscall(2) alone, whatever it was. The thread goes into it
// again to show where it waits, and its registers then name the call: after rt_sigreturn(2), which forgets what was
// to be restarted, only that one can be made again. True: it ran.
Result<bool> name_restarted_call(StoppedProcess& process, StoppedThread& thread) {
  bool moved = false;
  if (!thread.stop_signal && TRY(is_about_to_restart(process, thread.registers))) {
    TRY(follow_call(process, thread));
    moved = true;
  }
  if (thread.stop_signal && restarts(thread.registers) && syscall_number(thread.registers) == SYS_restart_syscall)
    return refuse("has been stopped (SIGSTOP) in an interrupted system call that cannot be told");
  for (int attempt = 0; restarts(thread.registers) && syscall_number(thread.registers) == SYS_restart_syscall;
       ++attempt) {
    std::string waits_in = TRY(follow_call(process, thread));
    moved = true;
    if (!restarts(thread.registers)) break;  // it has ended meanwhile
    long number = restarted_call(waits_in, thread.registers);
    if (number) {
      thread.registers.orig_rax = static_cast<unsigned long long>(number);
      break;
    }
    if (attempt == kMostFollows)
      return refuse(fmt::format("waits in an interrupted system call that cannot be told ({})", waits_in));
  }
  return moved;
}

// Lets the thread run to where its signal handler returns. False: it does not.
Result<bool> finish_handler(StoppedThread& thread) {
  bool returned = false;
  TRY(thread.hold.resume_to_syscall());
  for (Backoff backoff(Backoff::Clock::now() + kHandlerLimit); !returned;) {
    SeizedThread::Stop stop;
    int signal = 0;
    if (!TRY(thread.hold.poll(stop, &signal))) {
      if (!backoff.pause()) break;
      continue;
    }
    if (stop == SeizedThread::Stop::gone) return fail("died under our hands", ESRCH);
    returned =
        stop == SeizedThread::Stop::syscall && syscall_number(TRY(thread.hold.registers())) == SYS_rt_sigreturn;
    TRY(thread.hold.resume_to_syscall(stop == SeizedThread::Stop::signal ? signal : 0));
    backoff.start_anew();
  }
  TRY(thread.hold.interrupt());
  TRY(await_stop(thread));
  return returned;
}

// Never by single steps: the kernel does not take them back from a thread whose tracer dies, and SIGTRAP ends it. So
// it runs for a moment, until it happens to be stopped outside; even a program that does nothing but read clocks is
// there often enough.
// One that is stopped by job control can be found on the foothold of an engine that was killed: it goes back from
// there. True: it ran.
Result<bool> leave_vdso(StoppedProcess& process, StoppedThread& thread, std::span<const Vma> texts) {
  auto give_up = std::chrono::steady_clock::now() + kVdsoLimit;
  for (int run = 0; std::chrono::steady_clock::now() < give_up; ++run) {
    bool inside = std::ranges::any_of(texts, [&](const Vma& text) { return contains(text, thread.registers.rip); });
    if (!inside && !TRY(interrupted_vdso(process, thread, texts))) return run > 0;
    bool landed = thread.stop_signal && std::ranges::any_of(texts, [&](const Vma& text) {
                    return thread.registers.rip - text.start < EI_NIDENT;
                  });
    if (thread.stop_signal && !landed) return refuse("has been stopped in the vDSO (SIGSTOP)");
    if (inside && !landed)
      TRY(run_and_stop(thread, run % 16 * 10us));  // by itself a stop comes after the same few instructions
    else if (!TRY(finish_handler(thread)))
      break;
  }
  return refuse_for_now("is in the vDSO, or runs a signal handler that has interrupted it, and does not leave it");
}

}  // namespace

Result<std::vector<Vma>> vdso_texts(const StoppedProcess& process) {
  uint64_t home = auxv_entry(TRY(read_record(process.proc("auxv"))), AT_SYSINFO_EHDR);
  std::vector<Vma> texts;
  for (const Vma& area : process.areas)
    if (area.path == "[vdso]" || contains(area, home)) texts.push_back(area);
  return texts;
}

Result<bool> settle(StoppedProcess& process, StoppedThread& thread, std::span<const Vma> vdso_texts) {
  if (is_compat(thread.registers)) return refuse("runs 32-bit code, which is not supported");
  bool ran = false;
  for (bool again = true; again;) {  // naming a call may let it run into the vDSO
    ran |= TRY(leave_vdso(process, thread, vdso_texts));
    again = TRY(name_restarted_call(process, thread));
    if (!again && !thread.wait_measured) again = TRY(measure_wait(process, thread));
    ran |= again;
  }
  TRY(abort_sequence(process, thread));
  return ran;
}

}  // namespace ks::engine
