// SPDX-License-Identifier: LGPL-2.1-or-later
// What a security module confines each thread to. AppArmor's profiles are entered again, last of all: from then on a
// process may do no more than its profile says. Those of other modules are refused.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "base/file.h"
#include "base/text.h"
#include "engine/confinement.pb.h"
#include "engine/kernel/apparmor.h"
#include "engine/task/confinement.h"
#include "engine/task/room.h"

namespace ks::engine {

namespace {

constexpr std::string_view kRoom = "confinement";

// "unconfined", "named (enforce)", "system_u:system_r:init_t:s0". Empty: no module tells one.
std::string shown_label(const std::string& process) {
  auto label = read_file(process + "/attr/current");
  return label ? std::string(trim(std::string_view(label->c_str()))) : "";
}

void refuse_other_modules(Dumping& dumping, const StoppedProcess& process, bool has_apparmor) {
  std::string label = shown_label(process.proc("")), own = shown_label("/proc/self");
  bool of_apparmor = has_apparmor && (label == "unconfined" || label.ends_with(')'));
  if (label.empty() || label == "unconfined" || label == own || of_apparmor) return;
  dumping.refuse(process.pid, "security label",
                 fmt::format("is confined as \"{}\", which is not supported yet", label));
}

Result<> dump(Dumping& dumping, DumpedProcess& process, const TaskRoom& room) {
  StoppedProcess& stopped = process.stopped;
  image::Confinement out;
  bool any = false, has_apparmor = false;
  for (const StoppedThread& thread : stopped.threads) {
    auto state = TRY(apparmor_state(stopped.pid, thread.tid()));
    if (!state) break;
    has_apparmor = true;
    if (auto reason = why_not_enterable(*state); !reason.empty())
      dumping.refuse(stopped.pid, fmt::format("thread {}", thread.tid()), reason);
    auto* written = out.add_threads();
    written->set_tid(thread.tid());
    written->set_profile(state->profile);
    any |= !state->profile.empty();
  }
  refuse_other_modules(dumping, stopped, has_apparmor);
  if (any) process.put(room.name, room.version, out);
  return {};
}

// A descriptor more than the process may have by now.
class OneMoreDescriptor {
 public:
  explicit OneMoreDescriptor(pid_t pid) : pid_(pid) {
    if (::prlimit(pid, RLIMIT_NOFILE, nullptr, &before_)) return;
    rlimit more{.rlim_cur = kMost, .rlim_max = std::max<rlim_t>(kMost, before_.rlim_max)};
    raised_ = ::prlimit(pid, RLIMIT_NOFILE, &more, nullptr) == 0;
  }
  ~OneMoreDescriptor() {
    if (raised_) (void)::prlimit(pid_, RLIMIT_NOFILE, &before_, nullptr);
  }
  OneMoreDescriptor(const OneMoreDescriptor&) = delete;

 private:
  static constexpr rlim_t kMost = 1 << 20;  // fs.nr_open, which is at least that unless somebody lowers it
  pid_t pid_;
  rlimit before_{};
  bool raised_ = false;
};

// Only who has opened the file may write to it, and only to its own.
Result<> enter(int proc, RestoredProcess& process, RestoredThread& thread, const std::string& profile) {
  constexpr std::string_view kFile{"thread-self/attr/apparmor/current\0", 34};
  std::string words = "changeprofile " + profile;
  RemoteAddress path = process.scratch, text = process.scratch + kFile.size();
  TRY(process.memory->write(path, std::as_bytes(std::span(kFile))));
  TRY(process.memory->write(text, std::as_bytes(std::span(words))));
  uint64_t fd = TRY(in("opening its profile", thread.calls(SYS_openat, proc, path, O_WRONLY | O_CLOEXEC)));
  auto written = thread.calls(SYS_write, fd, text, words.size());
  TRY(in("close", thread.calls(SYS_close, fd)));
  TRY(std::move(written));
  return {};
}

Result<> restore(Restoring& restoring, RestoredProcess& process, const TaskRoom& room) {
  if (!is_confined(process.rooms)) return {};
  auto confinement = TRY(process.read<image::Confinement>(room.name, room.version));
  if (confinement.threads_size() != static_cast<int>(process.threads.size())) return fail("not one per thread");
  OneMoreDescriptor room_for_it(process.pid);
  for (int i = 0; i < confinement.threads_size(); ++i) {
    RestoredThread& thread = process.threads[static_cast<size_t>(i)];
    const std::string& profile = confinement.threads(i).profile();
    if (thread.tid() != confinement.threads(i).tid()) return fail("of another thread");
    auto state = TRY(apparmor_state(process.pid, thread.tid()));
    if (!state)
      return fail(fmt::format("was confined by AppArmor (\"{}\"), which this kernel does not have", profile));
    if (state->profile == profile) continue;
    std::string label = fmt::format("thread {}: the AppArmor profile \"{}\"", thread.tid(), profile);
    TRY(in(label, enter(restoring.proc.get(), process, thread, profile)));
    state = TRY(apparmor_state(process.pid, thread.tid()));
    if (!state || state->profile != profile) return fail(label + ": is not entered");
  }
  return {};
}

}  // namespace

Result<> prepare_to_confine(Restoring& restoring) {
  Fd low = TRY(open_file("/proc", O_PATH | O_DIRECTORY));
  restoring.proc = Fd(::fcntl(low.get(), F_DUPFD_CLOEXEC, restoring.own_descriptors.first));
  if (!restoring.proc) return fail_errno("/proc");
  return {};
}

bool is_confined(const std::map<std::string, Envelope>& rooms) { return rooms.contains(std::string(kRoom)); }

extern const TaskRoom kConfinement;
const TaskRoom kConfinement{.name = kRoom, .version = 1, .dump = dump, .restore = restore};

}  // namespace ks::engine
