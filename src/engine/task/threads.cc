// SPDX-License-Identifier: LGPL-2.1-or-later
// Threads: registers, and what the kernel keeps for each on behalf of the C library.
#include <linux/kcmp.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/file.h"
#include "base/text.h"
#include "engine/target/posix_timers.h"
#include "engine/task/clone.h"
#include "engine/task/queued_signals.h"
#include "engine/task/room.h"
#include "engine/threads.pb.h"

namespace ks::engine {

namespace {

// The remaining time of an interrupted sleep is where the program asked for it; of other waits it has been measured.
// One of which it is not known is made again whole.
Result<> dump_sleep(const Dumping& dumping, StoppedProcess& process, StoppedThread& thread,
                    image::Threads::Thread& out) {
  if (!in_syscall(thread.registers)) return {};
  bool from_block = syscall_result(thread.registers) == -kRestartBlock;
  bool of_events = syscall_result(thread.registers) == -kRestartNoHand && thread.wait_left;
  if (!from_block && !of_events) return {};
  long number = syscall_number(thread.registers);
  bool plain = number == SYS_nanosleep, sleeps = plain || number == SYS_clock_nanosleep;
  uint64_t remainder = sleeps ? syscall_argument(thread.registers, plain ? 1 : 3) : 0;
  if (!remainder && !thread.wait_left) return {};
  int64_t left = remainder ? from_timespec(TRY(process.memory->read<timespec>({remainder}))) : *thread.wait_left;
  auto* sleep = out.mutable_sleep();
  // nanosleep(2) counts the monotonic clock, whatever it says, and so do poll(2), futex(2) and epoll_wait(2).
  int clock =
      number == SYS_clock_nanosleep ? static_cast<int>(syscall_argument(thread.registers, 0)) : CLOCK_MONOTONIC;
  sleep->set_clock(clock);
  sleep->set_remainder(remainder);
  if (clock < 0 || clock == CLOCK_PROCESS_CPUTIME_ID || clock == CLOCK_THREAD_CPUTIME_ID) {
    sleep->set_left(left);
    return {};
  }
  // A relative sleep is not touched by a change of the wall clock. The time was told when it was stopped.
  int due_clock = clock == CLOCK_BOOTTIME || clock == CLOCK_BOOTTIME_ALARM ? CLOCK_BOOTTIME : CLOCK_MONOTONIC;
  int64_t since = TRY(read_clock(CLOCK_MONOTONIC, {})) - thread.stopped_at;
  sleep->set_due_clock(due_clock);
  sleep->set_due(TRY(read_clock(due_clock, dumping.clock_offsets)) - since + left);
  return {};
}

Result<> dump_thread(const Dumping& dumping, StoppedProcess& stopped, StoppedThread& thread,
                     const ThreadAnswers& answers, const std::vector<PosixTimer>& timers,
                     image::Threads::Thread& out) {
  out.set_tid(thread.tid());
  out.set_registers(&thread.registers, sizeof thread.registers);
  TRY(dump_sleep(dumping, stopped, thread, out));
  long order = ::syscall(SYS_kcmp, stopped.pid, thread.tid(), KCMP_FS, 0, 0);
  if (order < 0) return fail_errno("kcmp");
  out.set_own_directories(order != 0);
  out.set_xstate(thread.xstate.data(), thread.xstate.size());
  out.set_signal_mask(thread.mask);
  out.set_rseq(thread.rseq.address);
  out.set_rseq_bytes(thread.rseq.size);
  out.set_rseq_signature(thread.rseq.signature);
  std::string comm = TRY(read_record(stopped.proc(fmt::format("task/{}/comm", thread.tid()))));
  out.set_comm(comm.substr(0, comm.size() - 1));  // which may hold a line break

  uint64_t robust = 0, robust_bytes = 0;
  if (::syscall(SYS_get_robust_list, thread.tid(), &robust, &robust_bytes)) return fail_errno("get_robust_list");
  out.set_robust_list(robust);
  out.set_robust_bytes(robust_bytes);

  out.set_alternate_stack(reinterpret_cast<uint64_t>(answers.alternate_stack.ss_sp));
  out.set_alternate_flags(answers.alternate_stack.ss_flags);
  out.set_alternate_bytes(answers.alternate_stack.ss_size);
  out.set_clear_child_tid(answers.clear_child_tid);
  for (const siginfo_t& info : TRY(thread.hold.peek_signals(false)))
    if (!queued_by_any(timers, info) && info.si_signo != SIGSTOP) out.add_pending(encode_signal(info));
  return {};
}

Result<> dump(Dumping& dumping, DumpedProcess& process, const TaskRoom& room) {
  image::Threads threads;
  auto timers = TRY(read_posix_timers(process.stopped.pid));
  for (size_t i = 0; i < process.stopped.threads.size(); ++i) {
    StoppedThread& thread = process.stopped.threads[i];
    std::string label = fmt::format("thread {}", thread.tid());
    auto dumped =
        dump_thread(dumping, process.stopped, thread, process.answers.threads[i], timers, *threads.add_threads());
    if (!dumped && dumped.error().refusal)
      dumping.refuse(process.stopped.pid, label, dumped.error().what);
    else
      TRY(in(label, std::move(dumped)));
  }
  process.put(room.name, room.version, threads);
  return {};
}

Result<> restore_thread(const Restoring& restoring, RestoredProcess& process, RestoredThread& thread,
                        const image::Threads::Thread& from) {
  RemoteCalls& calls = thread.calls;
  if (!(from.alternate_flags() & SS_DISABLE)) {
    stack_t stack{.ss_sp = reinterpret_cast<void*>(from.alternate_stack()),
                  .ss_flags = from.alternate_flags() & ~SS_ONSTACK,
                  .ss_size = from.alternate_bytes()};
    TRY(process.memory->write_value(process.scratch, stack));
    TRY(in("sigaltstack", calls(SYS_sigaltstack, process.scratch, 0)));
  }
  if (from.robust_list())
    TRY(in("set_robust_list", calls(SYS_set_robust_list, from.robust_list(), from.robust_bytes())));
  TRY(in("set_tid_address", calls(SYS_set_tid_address, from.clear_child_tid())));
  if (from.rseq()) TRY(in("rseq", calls(SYS_rseq, from.rseq(), from.rseq_bytes(), 0, from.rseq_signature())));
  TRY(process.memory->write(process.scratch, std::as_bytes(std::span(from.comm().c_str(), from.comm().size() + 1))));
  TRY(in("PR_SET_NAME", calls(SYS_prctl, PR_SET_NAME, process.scratch)));
  TRY(queue_signals(restoring, process, thread, from.pending(), false));

  auto xstate = fit_xstate(std::as_bytes(std::span(from.xstate())), TRY(thread.hold.xstate()));
  if (xstate.empty()) return fail("uses registers that this processor or kernel does not have");
  TRY(thread.hold.set_xstate(xstate));
  if (from.registers().size() != sizeof thread.registers) return fail("registers of the wrong size");
  std::memcpy(&thread.registers, from.registers().data(), sizeof thread.registers);
  thread.mask = from.signal_mask();
  if (from.has_sleep())
    thread.sleep = RestoredSleep{.clock = from.sleep().clock(),
                                 .due_clock = from.sleep().due_clock(),
                                 .due = from.sleep().due(),
                                 .left = from.sleep().left(),
                                 .remainder = from.sleep().remainder()};
  return {};
}

Result<> restore(Restoring& restoring, RestoredProcess& process, const TaskRoom& room) {
  auto threads = TRY(process.read<image::Threads>(room.name, room.version));
  if (threads.threads().empty() || threads.threads(0).tid() != process.pid)
    return fail("the leader is not the first thread");
  constexpr uint64_t kThread = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
  for (const auto& thread : threads.threads()) {
    if (thread.tid() == process.pid) continue;
    uint64_t flags = thread.own_directories() ? kThread & ~uint64_t{CLONE_FS} : kThread;
    RemoteCalls& calls = process.leader();
    NewNumbers numbers = new_numbers(thread.tid(), restoring.nested.levels(thread.tid()), restoring.nested,
                                     restoring.namespaces.users, process.user_namespace);
    auto discard = [&](SeizedThread wrong) { return end_thread(std::move(wrong), calls); };
    if (!process.user_namespace) restoring.reserved.release(thread.tid());
    SeizedThread made =
        TRY(process.user_namespace ? remote_clone_in_turn(calls, *process.memory, process.scratch, flags, 0, numbers,
                                                          restoring.reserved, discard)
                                   : remote_clone(calls, *process.memory, process.scratch, flags, 0, numbers.chosen));
    process.threads.front().hold.set_end_told_late(true);
    process.threads.emplace_back(std::move(made), process.leader().base(), process.leader().instruction());
  }
  for (int i = 0; i < threads.threads_size(); ++i)
    TRY(in(fmt::format("thread {}", threads.threads(i).tid()),
           restore_thread(restoring, process, process.threads[static_cast<size_t>(i)], threads.threads(i))));
  return {};
}

}  // namespace

extern const TaskRoom kThreads;
const TaskRoom kThreads{.name = "threads", .version = 1, .dump = dump, .restore = restore};

}  // namespace ks::engine
