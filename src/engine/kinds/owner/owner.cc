// SPDX-License-Identifier: LGPL-2.1-or-later
// Whom an open file signals when it is ready or its lease is broken: F_SETOWN_EX, F_SETSIG, O_ASYNC (fcntl(2)).
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "base/file.h"
#include "engine/kinds/kind.h"
#include "engine/owner.pb.h"

namespace ks::engine {

namespace {

constexpr std::string_view kName = "owner";
constexpr uint32_t kVersion = 1;

bool is_ours(const Dumping& dumping, const f_owner_ex& owner) {
  return std::ranges::any_of(dumping.processes, [&](const StoppedProcess& process) {
    if (owner.type == F_OWNER_PGRP) return process.stat.pgrp == owner.pid;
    if (owner.type == F_OWNER_PID) return process.pid == owner.pid;
    return std::ranges::any_of(process.threads,
                               [&](const StoppedThread& thread) { return thread.tid() == owner.pid; });
  });
}

Result<> dump(Dumping& dumping, std::span<const OpenFile> files) {
  for (const OpenFile& file : files) {
    const auto& [owner, user, effective_user, signal] = file.owner;
    bool asynchronous = file.info.flags & O_ASYNC;
    if (!owner.pid && !signal && !asynchronous && !user && !effective_user) continue;
    if (owner.pid && !is_ours(dumping, owner)) {
      dumping.refuse(file.pid, file.object(),
                     fmt::format("signals {} {} (F_SETOWN), which is not part of it",
                                 owner.type == F_OWNER_PGRP ? "process group" : "pid", owner.pid));
      continue;
    }
    // Which makes a process of the asker its owner, and shows in nothing else.
    if (S_ISDIR(file.stat.st_mode) && owner.pid) {
      dumping.refuse(file.pid, file.object(),
                     "may be told of what happens in it (F_NOTIFY), which is not supported yet");
      continue;
    }
    if (asynchronous && !file.within.empty()) {
      dumping.refuse(file.pid, file.object(), for_now("signals a process (O_ASYNC) while it is in flight"));
      continue;
    }
    image::FileOwner out;
    out.set_file(file.id);
    out.set_type(owner.type);
    out.set_pid(owner.pid);
    out.set_uid(user);
    out.set_euid(effective_user);
    out.set_signal(signal);
    out.set_asynchronous(asynchronous);
    out.set_holder(file.pid);
    out.set_number(file.fd);
    dumping.put_file(kName, kVersion, out);
  }
  return {};
}

Result<> set_owner(int fd, const image::FileOwner& owner) {
  // Only this thread changes its user.
  if (::syscall(SYS_setresuid, owner.uid(), owner.euid(), -1)) return fail_errno("setresuid");
  f_owner_ex wanted{.type = static_cast<__pid_type>(owner.type()), .pid = owner.pid()}, self{F_OWNER_PID, ::getpid()};
  // One who is gone has left his user's ID behind.
  if (!owner.pid() && ::fcntl(fd, F_SETOWN_EX, &self)) return fail_errno("F_SETOWN_EX");
  if (::fcntl(fd, F_SETOWN_EX, &wanted)) return fail_errno(fmt::format("F_SETOWN_EX of {}", owner.pid()));
  return {};
}

// The kernel remembers the number under which this was asked for, and tells it with each signal. Which of several it
// was does not show: we take the first.
Result<> set_asynchronous(const Restoring& restoring, const image::FileOwner& owner) {
  RestoredProcess& process = *TRY(restoring.process(owner.holder()));
  int flags = ::fcntl(TRY(restoring.open_file(owner.file())), F_GETFL);
  if (flags < 0) return fail_errno("F_GETFL");
  TRY(in("F_SETFL", process.leader()(SYS_fcntl, owner.number(), F_SETFL, flags | O_ASYNC)));
  return {};
}

Result<> connect(Restoring& restoring, std::span<const Envelope> envelopes) {
  for (const Envelope& envelope : envelopes) {
    image::FileOwner owner;
    TRY(parse_body(envelope, owner));
    int fd = TRY(restoring.open_file(owner.file()));
    if (owner.asynchronous()) TRY(set_asynchronous(restoring, owner));
    Result<> done;
    std::thread([&] { done = set_owner(fd, owner); }).join();
    TRY(std::move(done));
    if (::fcntl(fd, F_SETSIG, owner.signal())) return fail_errno("F_SETSIG");
  }
  return {};
}

}  // namespace

extern const Kind kOwner;
const Kind kOwner{.name = kName, .version = kVersion, .dump = dump, .connect = connect};

}  // namespace ks::engine
