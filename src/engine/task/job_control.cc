// SPDX-License-Identifier: LGPL-2.1-or-later
// Stops of job control (SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU): of a process as a whole, and what its parent has been
// told of them.
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "engine/job_control.pb.h"
#include "engine/task/room.h"

namespace ks::engine {

namespace {

constexpr size_t kSignalSetSize = 8;

struct KernelAction {
  uint64_t handler = 0, flags = 0, restorer = 0, mask = 0;
};

// Whether waitid(2) would tell of this child, or of any; it is not told by that.
Result<bool> look(const Dumping& dumping, DumpedProcess& process, idtype_t of, pid_t pid, int kind) {
  pid_t child = dumping.nested.seen_by(process.stopped.pid, pid);
  RemoteAddress scratch = process.foothold.scratch();
  TRY(process.stopped.memory->write_value(scratch, siginfo_t{}));
  RemoteCalls& calls = *TRY(process.leader());
  TRY(in("waitid", calls(SYS_waitid, of, child, scratch, kind | WNOHANG | WNOWAIT | __WALL, 0)));
  pid_t told = TRY(process.stopped.memory->read<siginfo_t>(scratch)).si_pid;
  return told && (of == P_ALL || told == child);
}

Result<> dump(Dumping& dumping, DumpedProcess& process, const TaskRoom& room) {
  image::JobControl out;
  out.set_stopped_by(process.stopped.leader().stop_signal);
  out.set_stopped_again(process.stopped.has_another_stop());
  std::vector<StoppedProcess*> children;
  for (auto& other : dumping.processes)
    if (other.stat.ppid == process.stopped.pid && !other.zombie) children.push_back(&other);
  bool some_continued = !children.empty() && TRY(look(dumping, process, P_ALL, 0, WCONTINUED));
  for (StoppedProcess* child : children) {
    if (child->leader().stop_signal) {
      bool untold = TRY(look(dumping, process, P_PID, child->pid, WSTOPPED));
      untold ? out.add_stopped(child->pid) : out.add_told(child->pid);
    } else if (some_continued && TRY(look(dumping, process, P_PID, child->pid, WCONTINUED))) {
      out.add_continued(child->pid);
    }
  }
  process.put(room.name, room.version, out);
  return {};
}

// The thread takes the signal, or has been told to stop by one that has. False: the signal stops nothing, as all but
// SIGSTOP in a process group that nobody controls.
Result<bool> stop_thread(RestoredThread& thread, int signal) {
  TRY(thread.hold.resume());
  for (;;) {
    int reported = 0;
    switch (TRY(thread.hold.wait(&reported))) {
      case SeizedThread::Stop::group:
        return true;
      case SeizedThread::Stop::gone:
        return fail("died under our hands", ESRCH);
      case SeizedThread::Stop::signal:
        TRY(thread.hold.interrupt());  // lest it run on
        TRY(thread.hold.resume(reported == SIGSTOP ? signal : reported));
        break;
      case SeizedThread::Stop::event:
        return false;
      case SeizedThread::Stop::syscall:
        TRY(thread.hold.resume());
    }
  }
}

Result<> stop(RestoredProcess& process, int signal) {
  if (signal < 1 || signal > 64) return fail("stopped by no signal");
  SeizedThread& leader = process.threads.front().hold;
  if (signal != SIGSTOP) TRY(leader.set_signal_mask(kAllSignals & ~(uint64_t{1} << (signal - 1))));
  if (::kill(process.pid, SIGSTOP)) return fail_errno("kill");
  for (RestoredThread& thread : process.threads) {
    if (TRY(stop_thread(thread, signal))) continue;
    if (signal == SIGSTOP || thread.tid() != process.pid) return fail("cannot be stopped");
    // Nobody in the family sees by which signal.
    TRY(leader.set_signal_mask(kAllSignals));
    return stop(process, SIGSTOP);
  }
  return leader.set_signal_mask(kAllSignals);
}

Result<> set_action(RestoredProcess& process, int signal, const KernelAction& action) {
  TRY(process.memory->write_value(process.scratch, action));
  TRY(in("sigaction", process.leader()(SYS_rt_sigaction, signal, process.scratch, 0, kSignalSetSize)));
  return {};
}

Result<> restore(Restoring& restoring, RestoredProcess& process, const TaskRoom& room) {
  auto control = TRY(process.read<image::JobControl>(room.name, room.version));
  // It has had its SIGCHLD long ago. The handler comes later.
  if (control.stopped_size() || control.continued_size() || control.told_size())
    TRY(set_action(process, SIGCHLD, {.flags = SA_NOCLDSTOP}));
  for (pid_t child : control.continued()) restoring.continued.insert(child);
  if (restoring.continued.contains(process.pid)) {
    TRY(stop(process, SIGSTOP));
    if (::kill(process.pid, SIGCONT)) return fail_errno("kill");
    TRY(set_action(process, SIGCONT, {}));  // discards the signal, which is blocked
  }
  if (control.stopped_by()) TRY(stop(process, control.stopped_by()));
  return {};
}

Result<> nothing(Dumping&, DumpedProcess& process, const TaskRoom& room) {
  process.put(room.name, room.version, image::JobControl{});
  return {};
}

Result<> tell_parent(Restoring& restoring, RestoredProcess& process, const TaskRoom&) {
  auto control = TRY(process.read<image::JobControl>("job-control", 1));
  for (pid_t child : control.told())
    TRY(in("waitid", process.leader()(SYS_waitid, P_PID, restoring.nested.seen_by(process.pid, child), 0,
                                      WSTOPPED | WNOHANG | __WALL, 0)));
  if (control.stopped_size() || control.continued_size() || control.told_size())
    TRY(set_action(process, SIGCHLD, {}));  // its own comes with the other handlers, if it has one
  return {};
}

}  // namespace

extern const TaskRoom kJobControl, kStopReports;
const TaskRoom kJobControl{.name = "job-control", .version = 1, .dump = dump, .restore = restore};
const TaskRoom kStopReports{.name = "stop-reports", .version = 1, .dump = nothing, .restore = tell_parent};

}  // namespace ks::engine
