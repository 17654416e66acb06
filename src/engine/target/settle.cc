// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/settle.h"

#include <elf.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/syscall.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/backoff.h"
#include "base/file.h"
#include "engine/kernel/pagemap.h"
#include "engine/kernel/vdso.h"

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
    case SYS_io_uring_enter:
    // Where their time-out cannot be written back.
    case SYS_select:
    case SYS_pselect6:
    case SYS_ppoll:
    // On a socket with SO_RCVTIMEO or SO_SNDTIMEO. What has ended with EINTR has moved nothing.
    case SYS_read:
    case SYS_readv:
    case SYS_recvfrom:
    case SYS_recvmsg:
    case SYS_recvmmsg:
    case SYS_write:
    case SYS_writev:
    case SYS_sendto:
    case SYS_sendmsg:
    case SYS_sendmmsg:
    case SYS_accept:
    case SYS_accept4:
    case SYS_connect:
      return true;
  }
  return false;
}

Result<> reread(StoppedThread& thread) {
  TRY(take_registers(thread));
  thread.mask = TRY(thread.hold.signal_mask());
  thread.xstate = TRY(thread.hold.xstate());
  thread.stopped_at = std::chrono::steady_clock::now().time_since_epoch() / 1ns;
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
        TRY(thread.hold.interrupt());  // any other stop fulfils the request for one
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

// Goes into the system call that it is about to make, and on to its end or to where it sleeps. Signals reach it.
Result<std::string> follow_call(StoppedProcess& process, StoppedThread& thread) {
  std::string task = process.proc(fmt::format("task/{}/", thread.tid()));
  TRY(thread.hold.resume_to_syscall());
  int signal = 0;
  for (auto stop = TRY(thread.hold.wait(&signal)); stop != SeizedThread::Stop::syscall;
       stop = TRY(thread.hold.wait(&signal))) {
    if (stop == SeizedThread::Stop::gone) return fail("died under our hands", ESRCH);
    TRY(thread.hold.resume_to_syscall(stop == SeizedThread::Stop::signal ? signal : 0));
  }
  TRY(thread.hold.resume_to_syscall());
  for (Backoff backoff;;) {
    SeizedThread::Stop stop;
    if (TRY(thread.hold.poll(stop))) {
      if (stop == SeizedThread::Stop::gone) return fail("died under our hands", ESRCH);
      TRY(stop_anew(thread));
      return "";
    }
    if (TRY(parse_stat(TRY(read_file(task + "stat")))).state == 'S') {
      std::string waits_in = TRY(read_file(task + "wchan"));
      if (waits_in != "0") {
        TRY(thread.hold.interrupt());
        TRY(await_stop(thread));
        return waits_in;
      }
    }
    backoff.pause();
  }
}

// A call that has been restarted before shows as restart_syscall(2) alone, whatever it was. The thread goes into it
// again to show where it waits, and its registers then name the call: after rt_sigreturn(2), which forgets what was
// to be restarted, only that one can be made again. True: it ran.
Result<bool> name_restarted_call(StoppedProcess& process, StoppedThread& thread) {
  bool moved = false;
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
  return refuse("is in the vDSO, or runs a signal handler that has interrupted it, and does not leave it; try again");
}

}  // namespace

Result<> take_registers(StoppedThread& thread) {
  thread.registers = TRY(thread.hold.registers());
  if (is_compat(thread.registers) || !in_syscall(thread.registers) || syscall_result(thread.registers) != -EINTR ||
      !ends_on_stop(syscall_number(thread.registers)))
    return {};
  // What the kernel itself does for calls that restart unless a handler runs.
  thread.registers.rax = static_cast<unsigned long long>(-kRestartNoHand);
  return thread.hold.set_registers(thread.registers);
}

Result<std::vector<Vma>> vdso_texts(const StoppedProcess& process) {
  uint64_t home = auxv_entry(TRY(read_file(process.proc("auxv"))), AT_SYSINFO_EHDR);
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
    ran |= again;
  }
  TRY(abort_sequence(process, thread));
  return ran;
}

}  // namespace ks::engine
