// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/task/born_inside.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/securebits.h>
#include <sched.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "base/file.h"
#include "engine/kernel/envoy.h"
#include "engine/kernel/namespace.h"
#include "engine/target/inside_ids.h"

namespace ks::engine {

namespace {

constexpr const char* kSuffix = ", in a PID namespace that belongs to a user namespace";

struct Maps {
  IdMap users, groups;
  bool may_set_groups = false;
};

Result<Maps> maps_of(pid_t pid) {
  return Maps{.users = TRY(IdMap::parse(TRY(read_file(proc_path(pid, "uid_map"))))),
              .groups = TRY(IdMap::parse(TRY(read_file(proc_path(pid, "gid_map"))))),
              .may_set_groups = TRY(read_file(proc_path(pid, "setgroups"))) == "allow\n"};
}

class Check {
 public:
  Check(Dumping& dumping, const image::Namespaces& namespaces, const image::SystemV& system_v)
      : dumping_(dumping), namespaces_(namespaces), system_v_(system_v) {}

  Result<> make() {
    for (const auto& [pid, inside] : dumping_.inside) {
      auto checked = check(pid, inside);
      if (!checked && checked.error().refusal)
        dumping_.refuse(pid, "PID namespace", checked.error().what + kSuffix);
      else
        TRY(in(fmt::format("pid {}", pid), std::move(checked)));
    }
    return {};
  }

 private:
  const StoppedProcess* process(pid_t pid) const {
    auto found = std::ranges::find(dumping_.processes, pid, &StoppedProcess::pid);
    return found == dumping_.processes.end() ? nullptr : &*found;
  }

  Result<> check(pid_t pid, const Inside& inside) {
    const StoppedProcess* its = process(pid);
    if (!its) return {};  // a leader that has ended
    const StoppedProcess* founder = process(inside.founder);
    if (!founder || founder->zombie)
      return refuse("has been founded by a process that has ended; that is not supported");
    Fd user = TRY(owning_user_namespace(TRY(open_namespace(pid, "pid")).get()));
    auto inmate = TRY(Envoy::send([&]() -> Result<std::string> {
      if (::setns(user.get(), CLONE_NEWUSER)) return fail_errno("setns");
      return "";
    }));
    Maps maps = TRY(maps_of(inmate.pid()));
    Ids have = ids_of(founder->status), to = ids_of(its->status);
    if (its->zombie) to.groups = have.groups, to.uids[3] = to.uids[1], to.gids[3] = to.gids[1];
    TRY(change_inside(have, to, maps.users, maps.groups, maps.may_set_groups));
    if (its->zombie) return {};
    TRY(check_namespaces(*its, *founder, inside));
    TRY(check_memory(*its));
    TRY(check_system_v(*its, inside));
    return rehearse(*its, inside.founder, have, user.get());
  }

  const image::Namespaces::Namespace* of_type(pid_t pid, std::string_view type) const {
    auto member = std::ranges::find(namespaces_.members(), pid, &image::Namespaces::Member::pid);
    if (member == namespaces_.members().end()) return nullptr;
    for (uint32_t id : member->namespaces())
      for (const auto& entry : namespaces_.namespaces())
        if (entry.id() == id && entry.type() == type) return &entry;
    return nullptr;
  }

  // It has its founder's, and can enter others that belong to where it is.
  Result<> check_namespaces(const StoppedProcess& its, const StoppedProcess& founder, const Inside& inside) const {
    for (const char* type : {"uts", "ipc", "net"}) {
      const auto *entry = of_type(its.pid, type), *born_in = of_type(founder.pid, type);
      if (entry == born_in) continue;
      if (!entry || !dumping_.users.covers(inside.user, entry->owner()))
        return refuse(
            fmt::format("lives in another {} namespace than the one who has founded its PID namespace, which "
                        "it could not enter; that is not supported",
                        type));
    }
    return {};
  }

  Result<> check_memory(const StoppedProcess& its) const {
    for (const Vma& area : its.areas)
      if (area.has("lo") || area.has("lf")) return refuse("has locked memory, which is not supported yet");
    return {};
  }

  Result<> check_system_v(const StoppedProcess& its, const Inside& inside) const {
    const auto* entry = of_type(its.pid, "ipc");
    if (entry && dumping_.users.covers(inside.user, entry->owner())) return {};
    uint32_t id = entry ? entry->id() : 0;
    auto is_there = [&](const auto& object) { return object.object().name_space() == id; };
    bool any = std::ranges::any_of(system_v_.queues(), is_there) || std::ranges::any_of(system_v_.sets(), is_there) ||
               std::ranges::any_of(dumping_.system_v.segments, [&](const auto& segment) {
                 return segment.first.first == id && segment.second.attached;
               });
    if (any) return refuse("may use System V IPC of a namespace that does not, which is not supported yet");
    return {};
  }

  // What it will do when it has no privilege outside.
  Result<> rehearse(const StoppedProcess& its, pid_t founder, const Ids& ids, int user) const {
    bool goes = !TRY(has_same_directories(its.pid, founder));
    Fd executable = TRY(open_file(its.proc("exe"), O_PATH)), working = TRY(open_file(its.proc("cwd"), O_PATH));
    std::string working_path = TRY(read_link(its.proc("cwd"))), root = TRY(read_link(its.proc("root")));
    Fd mounts;
    if (TRY(namespace_of(its.pid, "mnt")) != TRY(namespace_of(::getpid(), "mnt")))
      mounts = TRY(open_namespace(its.pid, "mnt"));
    auto envoy = TRY(Envoy::send([&]() -> Result<std::string> {
      if (mounts && ::setns(mounts.get(), CLONE_NEWNS)) return fail_errno("setns");
      if (::prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)) return fail_errno("PR_SET_SECUREBITS");
      if (::syscall(SYS_setgroups, ids.groups.size(), ids.groups.data())) return fail_errno("setgroups");
      if (::syscall(SYS_setresgid, ids.gids[0], ids.gids[1], ids.gids[2])) return fail_errno("setresgid");
      if (::syscall(SYS_setresuid, ids.uids[0], ids.uids[1], ids.uids[2])) return fail_errno("setresuid");
      ::syscall(SYS_setfsgid, ids.gids[3]);
      ::syscall(SYS_setfsuid, ids.uids[3]);
      if (::setns(user, CLONE_NEWUSER)) return fail_errno("setns");
      if (::syscall(SYS_faccessat2, executable.get(), "", X_OK, AT_EMPTY_PATH | AT_EACCESS)) return "executable";
      if (!goes) return "";
      if (::fchdir(working.get()) || (!working_path.ends_with(" (deleted)") && ::chdir(working_path.c_str())))
        return "working directory";
      if (root != "/" && ::chroot(root.c_str())) return "root directory";
      return "";
    }));
    if (envoy.said().empty()) return {};
    return refuse(fmt::format("has no access to its {} any more; that is not supported", envoy.said()));
  }

  Dumping& dumping_;
  const image::Namespaces& namespaces_;
  const image::SystemV& system_v_;
};

}  // namespace

Result<bool> has_same_directories(pid_t one, pid_t other) {
  for (const char* which : {"cwd", "root"}) {
    struct stat its{}, others{};
    if (::stat(proc_path(one, which).c_str(), &its) || ::stat(proc_path(other, which).c_str(), &others))
      return fail_errno(which);
    if (its.st_dev != others.st_dev || its.st_ino != others.st_ino ||
        TRY(read_link(proc_path(one, which))) != TRY(read_link(proc_path(other, which))))
      return false;
  }
  return true;
}

Ids ids_of(const Status& status) { return {.uids = status.uids, .gids = status.gids, .groups = status.groups}; }

Result<> check_born_inside(Dumping& dumping, const image::Namespaces& namespaces, const image::SystemV& system_v) {
  return Check(dumping, namespaces, system_v).make();
}

Result<> take_ids_inside(RemoteCalls& calls, const RemoteMemory& memory, RemoteAddress scratch, const Ids& to) {
  pid_t pid = calls.thread().tid();
  Ids have = ids_of(TRY(parse_status(TRY(read_file(proc_path(pid, "status"))))));
  if (have == to) return {};
  Maps maps = TRY(maps_of(pid));
  IdChange change = TRY(change_inside(have, to, maps.users, maps.groups, maps.may_set_groups));
  TRY(in("PR_SET_SECUREBITS", calls(SYS_prctl, PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)));
  if (change.groups) {
    if (change.groups->size() * sizeof(gid_t) > Parking::kScratchSize) return fail("too many groups");
    TRY(memory.write(scratch, std::as_bytes(std::span(*change.groups))));
    TRY(in("setgroups", calls(SYS_setgroups, change.groups->size(), scratch)));
  }
  TRY(in("setresgid", calls(SYS_setresgid, change.gids[0], change.gids[1], change.gids[2])));
  if (change.file_gid) TRY(calls(SYS_setfsgid, *change.file_gid));
  TRY(in("setresuid", calls(SYS_setresuid, change.uids[0], change.uids[1], change.uids[2])));
  if (change.file_uid) TRY(calls(SYS_setfsuid, *change.file_uid));
  TRY(in("PR_SET_SECUREBITS", calls(SYS_prctl, PR_SET_SECUREBITS, 0)));
  return {};
}

}  // namespace ks::engine
