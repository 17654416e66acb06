// SPDX-License-Identifier: LGPL-2.1-or-later
#include <fmt/format.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "base/file.h"
#include "engine/context/namespace_state.h"
#include "engine/kernel/namespace.h"
#include "engine/kernel/user_namespace.h"
#include "engine/task/namespaces.h"
#include "engine/task/room.h"

namespace ks::engine {

namespace {

using Wanted = image::Namespaces::Namespace;

UserMaps maps_of(const Wanted& wanted) {
  return {.users = wanted.users(), .groups = wanted.groups(), .setgroups = wanted.setgroups()};
}

// That of the sandbox, where it is as it was.
Result<Fd> take(const Wanted& wanted, pid_t from) {
  Fd fd = TRY(open_namespace(from, wanted.type()));
  if (wanted.type() == "user") {
    if (TRY(read_maps(fd.get())) != maps_of(wanted) ||
        TRY(owner_of_user_namespace(fd.get())) != static_cast<uid_t>(wanted.made_by_user()))
      return fail("does not have the users and groups that the processes had");
  } else if (wanted.type() == "uts") {
    HostNames names{.host = wanted.host(), .domain = wanted.domain()};
    if (TRY(host_names(fd.get())) != names) TRY(set_host_names(fd.get(), names));
  } else if (wanted.type() == "net") {
    if (TRY(loopback_is_up(fd.get())) != wanted.loopback()) return fail("its loopback interface is not as it was");
  }
  return fd;
}

Result<Fd> make(const Wanted& wanted, int flag, const MadeNamespaces& made) {
  auto found = made.entries.find(wanted.owner());
  if (wanted.owner() && found == made.entries.end()) return fail("belongs to a user namespace that is missing");
  int owner = wanted.owner() ? found->second.fd.get() : -1;
  if (wanted.type() == "user") return make_user_namespace(maps_of(wanted), wanted.made_by_user(), owner);
  Fd fd = TRY(make_namespace(flag, wanted.type().c_str(), owner));
  if (wanted.type() == "uts") TRY(set_host_names(fd.get(), {.host = wanted.host(), .domain = wanted.domain()}));
  if (wanted.type() == "net" && wanted.loopback()) TRY(bring_loopback_up(fd.get(), wanted.loopback_assigned()));
  return fd;
}

Result<> nothing(Dumping&, DumpedProcess&, const TaskRoom&) { return {}; }

Result<> join(Restoring& restoring, RestoredProcess& process, const TaskRoom&) {
  return join_namespaces(restoring, process);
}

}  // namespace

Result<MadeNamespaces> make_namespaces(const image::Namespaces& all, pid_t into) {
  MadeNamespaces made;
  for (const auto& wanted : all.namespaces()) {
    std::string label = wanted.type() + " namespace";
    auto type = std::ranges::find(kNamespaceTypes, wanted.type(), &NamespaceType::name);
    if (type == kNamespaceTypes.end()) return fail(label + ": of an unknown type");
    bool found =
        wanted.sandbox() && into && TRY(namespace_of(into, type->name)) != TRY(namespace_of(::getpid(), type->name));
    if (!found && type->flag == CLONE_NEWNS) continue;  // its mounts are judged one by one
    if (!found && type->flag == CLONE_NEWCGROUP)
      return fail(label + ": there is none such where the processes are to live");
    Fd fd = TRY(in(label, found ? take(wanted, into) : make(wanted, type->flag, made)));
    if (type->flag == CLONE_NEWUSER) made.users.add(wanted.id(), wanted.owner());
    made.entries.emplace(wanted.id(), MadeNamespaces::Entry{.fd = std::move(fd), .flag = type->flag});
  }
  for (const auto& member : all.members()) {
    auto& ids = made.of_process[member.pid()];  // also of one that is in the system's alone
    for (uint32_t id : member.namespaces())
      if (auto entry = made.entries.find(id); entry != made.entries.end()) {
        ids.push_back(id);
        if (entry->second.flag == CLONE_NEWUSER) made.users.put(member.pid(), id);
      }
  }
  return made;
}

Result<> join_namespaces(const Restoring& restoring, RestoredProcess& process) {
  const auto common = restoring.namespaces.common();
  auto member = restoring.namespaces.of_process.find(process.pid);
  if (member == restoring.namespaces.of_process.end()) return {};
  pid_t pid = process.threads.front().tid();
  for (uint32_t id : member->second) {
    const auto& entry = restoring.namespaces.entries.at(id);
    if (entry.flag == CLONE_NEWUSER || common.contains(id)) continue;
    auto type = std::ranges::find(kNamespaceTypes, entry.flag, &NamespaceType::flag);
    // One who is born in a user namespace may be where it could not go.
    if (restoring.inside.contains(pid) &&
        TRY(namespace_of(pid, type->name)) == TRY(namespace_name(entry.fd.get(), type->name)))
      continue;
    TRY(in("setns", process.leader()(SYS_setns, entry.fd.get(), entry.flag)));
  }
  return {};
}

extern const TaskRoom kNamespaces;
const TaskRoom kNamespaces{.name = "namespaces", .version = 1, .dump = nothing, .restore = join};

}  // namespace ks::engine
