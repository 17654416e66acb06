// SPDX-License-Identifier: LGPL-2.1-or-later
// pidfd_open(2): a descriptor that stands for a process or a thread.
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "base/file.h"
#include "base/text.h"
#include "engine/kinds/kind.h"
#include "engine/pidfd.pb.h"

namespace ks::engine {

namespace {

constexpr std::string_view kName = "pidfd";
constexpr uint32_t kVersion = 1;
// Is there under every kernel. sd-bus keeps one of who made the socket of the bus (systemd 256).
constexpr pid_t kManager = 1;
constexpr int kThread = O_EXCL;  // PIDFD_THREAD, since 6.9

// struct pidfd_info and PIDFD_GET_INFO (linux/pidfd.h), since 6.13; the status of one that has ended since 6.15.
struct PidFdInfo {
  uint64_t mask, cgroup;
  uint32_t ids[11];
  int32_t exit_code;
};
static_assert(sizeof(PidFdInfo) == 64);
constexpr unsigned long kGetInfo = _IOWR(0xFF, 11, PidFdInfo);
constexpr uint64_t kInfoExit = 1 << 3;

// Since 6.9 each has a file of its own in a file system of its own.
bool owns(const OpenFile& file) { return file.link == "anon_inode:[pidfd]" || file.link.starts_with("pidfd:["); }

bool is_ours(const Dumping& dumping, pid_t pid, bool thread) {
  return std::ranges::any_of(dumping.processes, [&](const StoppedProcess& process) {
    return process.pid == pid || (thread && std::ranges::any_of(process.threads, [&](const StoppedThread& one) {
                                    return one.tid() == pid;
                                  }));
  });
}

Result<> dump(Dumping& dumping, std::span<const OpenFile> files) {
  for (const OpenFile& file : files) {
    auto pid = parse_number<pid_t>(file.info.value("Pid").value_or(""));
    if (!pid) return fail(file.object() + ": fdinfo tells no pid");
    bool thread = file.info.flags & kThread;
    if (*pid != -1 && *pid != kManager && !is_ours(dumping, *pid, thread)) {
      dumping.refuse(file.pid, file.object(), fmt::format("leads to pid {}, which is not part of it", *pid));
      continue;
    }
    image::PidFd out;
    out.set_id(file.id);
    out.set_flags(static_cast<uint32_t>(file.flags()));
    out.set_pid(*pid);
    out.set_thread(thread);
    PidFdInfo info{.mask = kInfoExit};
    Fd mine = TRY(in(file.object(), file.fetch()));
    if (*pid == -1 && ::ioctl(mine.get(), kGetInfo, &info) == 0 && info.mask & kInfoExit)
      out.set_status(info.exit_code);
    dumping.put_file(kName, kVersion, out);
  }
  return {};
}

Result<Fd> open_process(pid_t pid, bool thread) {
  Fd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, thread ? kThread : 0)));
  if (!fd) return fail_errno(fmt::format("pidfd_open of {}", pid));
  return fd;
}

// One that stands for a process which has ended, and ended in the same way.
Result<Fd> open_dead(const image::PidFd& file) {
  pid_t child = ::fork();
  if (child < 0) return fail_errno("fork");
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::raise(SIGSTOP);
    if (!WIFSIGNALED(file.status())) ::_exit(WEXITSTATUS(file.status()));
    ::prctl(PR_SET_DUMPABLE, 0);  // no core
    ::signal(WTERMSIG(file.status()), SIG_DFL);
    ::kill(::getpid(), WTERMSIG(file.status()));
    ::_exit(0);
  }
  ::waitpid(child, nullptr, WUNTRACED);
  auto fd = open_process(child, file.thread());
  ::kill(child, SIGCONT);
  while (::waitpid(child, nullptr, 0) < 0)
    if (errno != EINTR) return fail_errno("wait");
  return fd;
}

Result<Fds> make(Restoring&, std::span<const Envelope> envelopes) {
  Fds made;
  for (const Envelope& envelope : envelopes) {
    image::PidFd file;
    TRY(parse_body(envelope, file));
    Fd fd = file.pid() == -1 ? TRY(open_dead(file)) : TRY(open_process(file.pid(), file.thread()));
    if (::fcntl(fd.get(), F_SETFL, static_cast<int>(file.flags()))) return fail_errno("pidfd flags");
    made.emplace(file.id(), std::move(fd));
  }
  return made;
}

}  // namespace

extern const Kind kPidFd;
const Kind kPidFd{.name = kName, .version = kVersion, .owns = owns, .dump = dump, .make = make, .of_processes = true};

}  // namespace ks::engine
