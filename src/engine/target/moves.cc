// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/moves.h"

#include <fmt/format.h>
#include <sys/syscall.h>

#include <thread>

#include "base/backoff.h"
#include "base/file.h"

namespace ks::engine {

namespace {

using namespace std::chrono_literals;

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

// What runs again may go where nothing stops it: into vfork(2), say, whose child waits for one that we have stopped.
constexpr auto kMoveLimit = 2s;

Result<> reread(StoppedThread& thread) {
  TRY(take_registers(thread));
  thread.mask = TRY(thread.hold.signal_mask());
  thread.xstate = TRY(thread.hold.xstate());
  thread.stopped_at = std::chrono::steady_clock::now().time_since_epoch() / 1ns;
  return {};
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

Result<> await_stop(StoppedThread& thread) {
  for (auto limit = std::chrono::steady_clock::now() + kMoveLimit;;) {
    int signal = 0;
    switch (TRY(thread.hold.wait_until(limit, &signal))) {
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

Result<> stop_anew(StoppedThread& thread) {
  TRY(thread.hold.interrupt());
  TRY(thread.hold.resume());
  return await_stop(thread);
}

Result<std::string> follow_call(const StoppedProcess& process, StoppedThread& thread,
                                const std::function<Result<>()>& asleep) {
  std::string task = process.proc(fmt::format("task/{}/", thread.tid()));
  TRY(thread.hold.resume_to_syscall());
  auto limit = std::chrono::steady_clock::now() + kMoveLimit;
  int signal = 0;
  for (;;) {
    auto stop = TRY(thread.hold.wait_until(limit, &signal));
    if (stop == SeizedThread::Stop::syscall) break;
    if (stop == SeizedThread::Stop::gone) return fail("died under our hands", ESRCH);
    TRY(thread.hold.resume_to_syscall(stop == SeizedThread::Stop::signal ? signal : 0));
  }
  TRY(thread.hold.resume_to_syscall());
  for (Backoff backoff(limit);;) {
    SeizedThread::Stop stop;
    if (TRY(thread.hold.poll(stop))) {
      if (stop == SeizedThread::Stop::gone) return fail("died under our hands", ESRCH);
      TRY(stop_anew(thread));
      return "";
    }
    if (TRY(parse_stat(TRY(read_file(task + "stat")))).state == 'S') {
      std::string waits_in = TRY(read_file(task + "wchan"));
      if (waits_in != "0") {
        if (asleep) TRY(asleep());
        TRY(thread.hold.interrupt());
        TRY(await_stop(thread));
        return waits_in;
      }
    }
    if (!backoff.pause()) return fail("does not come to rest in the call that it was in", EAGAIN);
  }
}

}  // namespace ks::engine
