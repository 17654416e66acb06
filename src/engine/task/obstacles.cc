// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/task/obstacles.h"

#include <fmt/format.h>
#include <linux/kcmp.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <set>

#include "base/file.h"
#include "base/text.h"
#include "engine/kernel/landlock.h"

namespace ks::engine {

namespace {

// Reads the filters. False: no call may be made in the thread.
Result<bool> check_seccomp(Dumping& dumping, pid_t pid, StoppedThread& thread, int mode) {
  std::string label = fmt::format("thread {}", thread.tid());
  if (mode == SECCOMP_MODE_STRICT) {
    dumping.refuse(pid, label, "its strict seccomp would end it if the checkpoint were interrupted");
    return false;
  }
  auto filters = thread.hold.seccomp_filters();
  if (!filters) {
    dumping.refuse(pid, label, "its seccomp filters cannot be read: " + filters.error().what);
    return false;
  }
  thread.filters = *std::move(filters);
  for (const SeccompFilter& filter : thread.filters)
    if (may_notify(filter.code)) {
      dumping.refuse(pid, label,
                     "has a seccomp filter that asks a supervisor (SECCOMP_RET_USER_NOTIF), which is not supported");
      return false;
    }
  return true;
}

Result<bool> check_confinement(Dumping& dumping, StoppedProcess& process) {
  bool callable = true;
  for (StoppedThread& thread : process.threads) {
    auto status = TRY(parse_status(TRY(read_record(process.proc(fmt::format("task/{}/status", thread.tid()))))));
    if (status.seccomp && !TRY(check_seccomp(dumping, process.pid, thread, status.seccomp))) callable = false;
    if (TRY(thread.hold.dispatches_calls())) {
      dumping.refuse(
          process.pid, fmt::format("thread {}", thread.tid()),
          "has its system calls dispatched to itself (PR_SET_SYSCALL_USER_DISPATCH), which is not supported yet");
      callable = false;
    }
    if (status.thread_features.find("shstk") != std::string::npos) {
      dumping.refuse(process.pid, fmt::format("thread {}", thread.tid()),
                     "has a shadow stack, which is not supported yet");
      callable = false;
    }
  }
  if (dumping.somebody_is_restricted && TRY(is_in_landlock_domain(process.pid)))
    dumping.refuse(process.pid, "process", "has given up rights by Landlock, which is not supported yet");
  return callable;
}

Result<> check_threads_share(Dumping& dumping, const StoppedProcess& process) {
  for (const StoppedThread& thread : process.threads) {
    long order = ::syscall(SYS_kcmp, process.pid, thread.tid(), KCMP_FILES, 0, 0);
    if (order < 0) return fail_errno("kcmp");
    if (order != 0)
      dumping.refuse(process.pid, fmt::format("thread {}", thread.tid()),
                     "has descriptors of its own, which is not supported yet");
  }
  return {};
}

}  // namespace

Result<bool> check_process(Dumping& dumping, StoppedProcess& process) {
  auto refuse = [&](const char* object, std::string text) { dumping.refuse(process.pid, object, std::move(text)); };
  if (process.zombie) {
    if (!process.threads.empty())
      refuse("process", "its main thread has ended while others run on, which no restore can repeat");
    return false;
  }
  if (process.status.tracer_pid != ::getpid())
    refuse("process", fmt::format("is traced by pid {}", process.status.tracer_pid));
  TRY(check_threads_share(dumping, process));
  return check_confinement(dumping, process);
}

Result<> check_children(Dumping& dumping) {
  std::set<pid_t> inside;
  for (const auto& process : dumping.processes) inside.insert(process.pid);
  for (const auto& process : dumping.processes)
    for (const StoppedThread& thread : process.threads) {
      // Without CONFIG_PROC_CHILDREN nobody tells, nor did the freezer find them.
      auto text = TRY(read_file(process.proc(fmt::format("task/{}/children", thread.tid()))));
      for (auto word : split_words(text)) {
        auto child = parse_number<pid_t>(word);
        if (!child) return fail("not a process list: " + text);
        if (!inside.contains(*child))
          dumping.refuse(process.pid, fmt::format("child {}", *child), "is in another control group");
        else if (thread.tid() != process.pid)
          dumping.forked_by[*child] = thread.tid();
      }
    }
  return {};
}

}  // namespace ks::engine
