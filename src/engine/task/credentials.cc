// SPDX-License-Identifier: LGPL-2.1-or-later
// User, groups, capabilities, securebits, no_new_privs: the kernel keeps them per thread, so we do too. With
// them, what a change of user resets: dumpable, and the signal for the parent's death.
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <algorithm>

#include "base/file.h"
#include "base/text.h"
#include "engine/credentials.pb.h"
#include "engine/task/born_inside.h"
#include "engine/task/credentials.h"
#include "engine/task/room.h"

namespace ks::engine {

namespace {

constexpr int kSuidDumpable = 2;  // set by the kernel alone

Result<> dump(Dumping& dumping, DumpedProcess& process, const TaskRoom& room) {
  StoppedProcess& stopped = process.stopped;
  image::Credentials out;
  for (size_t i = 0; i < stopped.threads.size(); ++i) {
    const StoppedThread& thread = stopped.threads[i];
    const ThreadAnswers& answers = process.answers.threads[i];
    auto status = TRY(parse_status(TRY(read_record(stopped.proc(fmt::format("task/{}/status", thread.tid()))))));
    auto* written = out.add_threads();
    written->set_tid(thread.tid());
    for (uid_t uid : status.uids) written->add_uids(uid);
    for (gid_t gid : status.gids) written->add_gids(gid);
    for (gid_t group : status.groups) written->add_groups(group);
    written->set_inheritable(status.cap_inheritable);
    written->set_permitted(status.cap_permitted);
    written->set_effective(status.cap_effective);
    written->set_bounding(status.cap_bounding);
    written->set_ambient(status.cap_ambient);
    written->set_no_new_privileges(status.no_new_privs);
    written->set_parent_death_signal(answers.parent_death_signal);
    if (auto forker = dumping.forked_by.find(stopped.pid);
        written->parent_death_signal() && forker != dumping.forked_by.end())
      dumping.refuse(
          stopped.pid, "parent-death signal",
          fmt::format("waits for the end of thread {} of its parent, which is not supported yet", forker->second));
    written->set_securebits(answers.securebits);
  }
  out.set_dumpable(process.answers.dumpable);
  process.put(room.name, room.version, out);
  return {};
}

class Setter {
 public:
  Setter(RestoredProcess& process, RestoredThread& thread, const image::Credentials::Thread& to)
      : process_(process), thread_(thread), to_(to) {}

  Result<> set() {
    if (to_.uids_size() != 4 || to_.gids_size() != 4) return fail("credentials: not four ids");
    Status have =
        TRY(parse_status(TRY(read_record(proc_path(process_.pid, fmt::format("task/{}/status", thread_.tid()))))));
    if (!matches(have)) TRY(change(have));
    if (to_.no_new_privileges() && !have.no_new_privs)
      TRY(in("PR_SET_NO_NEW_PRIVS", thread_.calls(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)));
    return {};
  }

  // The capabilities stay.
  Result<> set_ids() {
    if (to_.uids_size() != 4 || to_.gids_size() != 4) return fail("credentials: not four ids");
    RemoteCalls& calls = thread_.calls;
    std::vector<uint32_t> groups(to_.groups().begin(), to_.groups().end());
    if (groups.size() * sizeof(uint32_t) > Parking::kScratchSize) return fail("too many groups");
    TRY(process_.memory->write(process_.scratch, std::as_bytes(std::span(groups))));
    TRY(in("setgroups", calls(SYS_setgroups, groups.size(), process_.scratch)));
    TRY(in("PR_SET_SECUREBITS", calls(SYS_prctl, PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)));
    TRY(in("setresgid", calls(SYS_setresgid, to_.gids(0), to_.gids(1), to_.gids(2))));
    TRY(calls(SYS_setfsgid, to_.gids(3)));
    TRY(in("setresuid", calls(SYS_setresuid, to_.uids(0), to_.uids(1), to_.uids(2))));
    TRY(calls(SYS_setfsuid, to_.uids(3)));
    return {};
  }

 private:
  bool has_ids(const Status& have) const {
    return std::ranges::equal(have.uids, to_.uids()) && std::ranges::equal(have.gids, to_.gids()) &&
           std::ranges::equal(have.groups, to_.groups());
  }
  bool matches(const Status& have) const {
    return has_ids(have) && have.cap_inheritable == to_.inheritable() && have.cap_permitted == to_.permitted() &&
           have.cap_effective == to_.effective() && have.cap_bounding == to_.bounding() &&
           have.cap_ambient == to_.ambient() && to_.securebits() == 0;
  }

  Result<> set_capabilities(uint64_t effective, uint64_t permitted, uint64_t inheritable) {
    struct {
      __user_cap_header_struct header;
      __user_cap_data_struct data[2];
    } request{.header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0}};
    for (int half = 0; half < 2; ++half)
      request.data[half] = {.effective = static_cast<__u32>(effective >> 32 * half),
                            .permitted = static_cast<__u32>(permitted >> 32 * half),
                            .inheritable = static_cast<__u32>(inheritable >> 32 * half)};
    TRY(process_.memory->write_value(process_.scratch, request));
    TRY(in("capset", thread_.calls(SYS_capset, process_.scratch, process_.scratch + sizeof request.header)));
    return {};
  }

  // Every step needs capabilities, so they are kept over the change of user and given up last.
  Result<> change(const Status& have) {
    RemoteCalls& calls = thread_.calls;
    for (uint64_t capability = 0; capability < 64; ++capability)
      if ((have.cap_bounding & ~to_.bounding()) >> capability & 1)
        TRY(in("PR_CAPBSET_DROP", calls(SYS_prctl, PR_CAPBSET_DROP, capability, 0, 0, 0)));
    if (!has_ids(have)) TRY(set_ids());
    uint64_t own = have.cap_permitted;
    if (to_.permitted() & ~own) return fail("needs capabilities that the restorer does not have");
    if (to_.inheritable() != have.cap_inheritable || to_.ambient())
      TRY(set_capabilities(own, own, to_.inheritable()));
    for (uint64_t capability = 0; capability < 64; ++capability)
      if (to_.ambient() >> capability & 1)
        TRY(in("PR_CAP_AMBIENT", calls(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0)));
    TRY(in("PR_SET_SECUREBITS", calls(SYS_prctl, PR_SET_SECUREBITS, to_.securebits())));
    return set_capabilities(to_.effective(), to_.permitted(), to_.inheritable());
  }

  RestoredProcess& process_;
  RestoredThread& thread_;
  const image::Credentials::Thread& to_;
};

Result<> restore(Restoring&, RestoredProcess& process, const TaskRoom& room) {
  auto credentials = TRY(process.read<image::Credentials>(room.name, room.version));
  if (credentials.threads_size() != static_cast<int>(process.threads.size()))
    return fail("credentials: not one per thread");
  for (int i = 0; i < credentials.threads_size(); ++i) {
    RestoredThread& thread = process.threads[static_cast<size_t>(i)];
    if (thread.tid() != credentials.threads(i).tid()) return fail("credentials: of another thread");
    TRY(in(fmt::format("thread {}", thread.tid()), Setter(process, thread, credentials.threads(i)).set()));
    if (int signal = credentials.threads(i).parent_death_signal())
      TRY(in("PR_SET_PDEATHSIG", thread.calls(SYS_prctl, PR_SET_PDEATHSIG, signal)));
  }
  // A change of user clears it; what the kernel made of it then can only be had the same way.
  int now = static_cast<int>(TRY(process.leader()(SYS_prctl, PR_GET_DUMPABLE)));
  if (now != credentials.dumpable() && credentials.dumpable() != kSuidDumpable)
    TRY(in("PR_SET_DUMPABLE", process.leader()(SYS_prctl, PR_SET_DUMPABLE, credentials.dumpable(), 0, 0, 0)));
  return {};
}

Result<> nothing(Dumping&, DumpedProcess&, const TaskRoom&) { return {}; }

Result<Ids> ids_to_take(const RestoredProcess& process) {
  auto credentials = TRY(process.read<image::Credentials>("credentials", 1));
  if (credentials.threads().empty()) return fail("credentials: of no thread");
  const auto& to = credentials.threads(0);
  if (to.uids_size() != 4 || to.gids_size() != 4) return fail("credentials: not four ids");
  Ids ids{.uids = {}, .gids = {}, .groups = {to.groups().begin(), to.groups().end()}};
  std::ranges::copy(to.uids(), ids.uids.begin());
  std::ranges::copy(to.gids(), ids.gids.begin());
  return ids;
}

// From here on nothing is allowed that the processes may not do themselves. Its IDs come first: inside, not all of
// them need exist, as those of groups that systemd gives a service before it makes a user namespace.
Result<> enter(Restoring& restoring, RestoredProcess& process, const TaskRoom&) {
  uint32_t to = restoring.namespaces.users.of(process.pid);
  if (!to) return {};
  auto inside = restoring.inside.find(process.pid);
  bool born_there = inside != restoring.inside.end() && inside->second.user == to;
  if (inside != restoring.inside.end())
    TRY(take_ids_inside(process.leader(), *process.memory, process.scratch, TRY(ids_to_take(process))));
  else
    TRY(take_ids(process));
  if (!born_there)
    TRY(in("setns", process.leader()(SYS_setns, restoring.namespaces.entries.at(to).fd.get(), CLONE_NEWUSER)));
  process.user_namespace = to;
  return {};
}

}  // namespace

Result<> take_ids(RestoredProcess& process) {
  auto credentials = TRY(process.read<image::Credentials>("credentials", 1));
  if (credentials.threads().empty()) return fail("credentials: of no thread");
  return Setter(process, process.threads.front(), credentials.threads(0)).set_ids();
}

extern const TaskRoom kCredentials, kUserNamespace;
const TaskRoom kCredentials{.name = "credentials", .version = 1, .dump = dump, .restore = restore};
const TaskRoom kUserNamespace{.name = "user-namespace", .version = 1, .dump = nothing, .restore = enter};

}  // namespace ks::engine
