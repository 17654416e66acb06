// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/task/pid_namespaces.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "base/file.h"
#include "base/text.h"
#include "engine/kernel/namespace.h"
#include "engine/kernel/pid_namespace.h"
#include "engine/target/births.h"
#include "engine/task/descent.h"

namespace ks::engine {

namespace {

constexpr const char* kObject = "PID namespace";

class Survey {
 public:
  explicit Survey(Dumping& dumping) : dumping_(dumping) {}

  Result<> make() {
    own_ = TRY(namespace_of(::getpid(), "pid"));
    own_user_ = TRY(namespace_of(::getpid(), "user"));
    for (const auto& process : dumping_.processes)
      if (process.status.ns_pids.size() > 1 && process.status.ns_pids.back() == 1)
        firsts_[TRY(namespace_of(process.pid, "pid"))] = process.pid;
    for (const auto& process : dumping_.processes) {
      if (process.status.ns_pids.size() < 2) continue;
      auto added = add(process);
      if (!added && added.error().refusal)
        dumping_.refuse(process.pid, kObject, added.error().what);
      else
        TRY(in(kObject, std::move(added)));
    }
    return firsts_.empty() ? Result<>{} : check_others();
  }

 private:
  // They would end with the first process.
  Result<> check_others() {
    for (const auto& name : TRY(list_directory("/proc"))) {
      auto pid = parse_number<pid_t>(name);
      if (!pid || std::ranges::find(dumping_.processes, *pid, &StoppedProcess::pid) != dumping_.processes.end())
        continue;
      auto its = namespace_of(*pid, "pid");  // unless it has ended meanwhile
      if (auto first = its ? firsts_.find(*its) : firsts_.end(); first != firsts_.end())
        dumping_.refuse(first->second, kObject,
                        fmt::format("is also that of pid {}, which is not part of the service", *pid));
    }
    return {};
  }

  // The first processes of the namespaces that it is in, the outermost first.
  Result<std::vector<pid_t>> chain_of(pid_t pid) {
    std::vector<pid_t> chain;
    Fd fd = TRY(open_namespace(pid, "pid"));
    for (std::string name; (name = TRY(namespace_name(fd.get(), "pid"))) != own_;
         fd = TRY(parent_pid_namespace(fd.get()))) {
      auto first = firsts_.find(name);
      if (first == firsts_.end())
        return refuse("its first process is not part of the service, which is not supported yet");
      chain.insert(chain.begin(), first->second);
      if (owners_.contains(first->second)) continue;
      std::string user = TRY(namespace_name(TRY(owning_user_namespace(fd.get())).get(), "user"));
      auto owner = dumping_.user_namespaces.find(user);
      if (owner == dumping_.user_namespaces.end() && user != own_user_)
        return refuse("belongs to a user namespace that no process of the service is in");
      owners_[first->second] = user == own_user_ ? 0 : owner->second;
      dumping_.nested.set_owner(first->second, owners_[first->second]);
    }
    return chain;
  }

  // Numbers begin with ours. A session or group may come from above: then it has none here.
  void put(const std::vector<pid_t>& chain, std::span<const pid_t> numbers) {
    PidLevels levels;
    for (size_t i = 1; i < numbers.size() && numbers[i]; ++i) levels.push_back({chain[i - 1], numbers[i]});
    if (!numbers.empty() && levels.size() >= dumping_.nested.levels(numbers[0]).size())
      dumping_.nested.add(numbers[0], std::move(levels));
  }

  Result<> add(const StoppedProcess& process) {
    auto chain = TRY(chain_of(process.pid));
    const Status& status = process.status;
    for (const auto* numbers : {&status.ns_pids, &status.ns_groups, &status.ns_sessions}) {
      if (numbers->size() != chain.size() + 1) return fail("numbers and namespaces do not agree");
      put(chain, *numbers);
    }
    for (const StoppedThread& thread : process.threads) {
      if (thread.tid() == process.pid) continue;
      auto its = TRY(parse_status(TRY(read_record(process.proc(fmt::format("task/{}/status", thread.tid()))))));
      put(chain, its.ns_pids);
    }
    if (dumping_.options.foreign_namespaces && &process == &dumping_.processes.front())
      return refuse("is that of the unit (PrivatePIDs=), which is not supported yet");
    if (process.zombie) return check_end(process);
    return {};
  }

  // The first process of a namespace is not ended by signals from inside, nor by most from outside.
  Result<> check_end(const StoppedProcess& process) {
    int code = process.stat.exit_code;
    if (dumping_.nested.is_first(process.pid) && WIFSIGNALED(code) && WTERMSIG(code) != SIGKILL)
      return refuse(
          fmt::format("its first process has been ended by signal {}; that is not supported", WTERMSIG(code)));
    return {};
  }

  Dumping& dumping_;
  std::string own_, own_user_;
  std::map<std::string, pid_t> firsts_;
  std::map<pid_t, uint32_t> owners_;  // by first process
};

// Each process is cloned into its namespace by the one who is to clone it.
void check_births(Dumping& dumping, NestedPids& nested, std::span<const FamilyStep> plan) {
  Births births(nested, dumping.users);
  std::set<pid_t> cloners;
  for (const FamilyStep& step : plan) {
    if (step.action == FamilyStep::Action::clone) {
      if (step.who < 0) nested.add(step.who, nested.levels(step.other));
      if (auto birth = births.next(step.who, step.other); !birth)
        dumping.refuse(std::max(step.who, 0), kObject, birth.error().what);
      if (step.who > 0 && births.inside(step.who).user) dumping.inside[step.who] = births.inside(step.who);
      if (step.flags & CLONE_PARENT && nested.is_first(step.other))  // clone(2): EINVAL
        dumping.refuse(
            std::max(step.who, 0), kObject,
            "shares memory with the first process of one, of which it is a sibling; that is not supported");
      if (step.flags && births.inside(step.who).user)
        dumping.refuse(
            std::max(step.who, 0), kObject,
            "belongs to a user namespace and holds processes that share memory; that is not supported yet");
      cloners.insert(step.other);
    } else if (step.action == FamilyStep::Action::set_group && !nested.seen_by(step.who, step.other)) {
      dumping.refuse(std::max(step.who, 0), kObject,
                     "does not show its process group, which it could not join again; that is not supported");
    } else if (step.action == FamilyStep::Action::end && cloners.contains(step.who) &&
               nested.home(step.who) != nested.home(step.other)) {
      dumping.refuse(std::max(step.other, 0), kObject,
                     "holds a process whose parent has ended, in a session of another one; that is not supported");
    }
  }
}

Births births_of(const Dumping& dumping, NestedPids& nested, std::span<const FamilyStep> plan) {
  Births births(nested, dumping.users);
  for (const FamilyStep& step : plan) {
    if (step.action != FamilyStep::Action::clone) continue;
    if (step.who < 0) nested.add(step.who, nested.levels(step.other));
    (void)births.next(step.who, step.other);  // what is impossible has been refused
  }
  return births;
}

// Where the children of a process will be.
Result<> describe_children(const Dumping& dumping, const Births& births, const StoppedProcess& process,
                           image::Tree::Process& out) {
  auto its = TRY(namespace_of(process.pid, "pid"));
  auto children = namespace_of(process.pid, "pid_for_children");
  if (children && *children == its) return {};
  if (!children && children.error().code != ENOENT) return std::unexpected(children.error());
  if (process.threads.size() > 1)
    return refuse("is to be another for the children of one of its threads, which is not supported yet");
  if (!children) {  // it has no process yet, and so not even a name
    // It belongs to the user namespace that the process was in then.
    if (dumping.users.of(process.pid) != births.inside(process.pid).user)
      return refuse("is to be a new one for its children, in a user namespace; that is not supported yet");
    out.set_children_in_new(true);
    return {};
  }
  for (const auto& other : dumping.processes)
    if (!other.zombie && dumping.nested.is_first(other.pid) && TRY(namespace_of(other.pid, "pid")) == *children) {
      out.set_children_in(other.pid);
      if (births.inside(process.pid).user) TRY(births.turn(process.pid, other.pid));
      return {};
    }
  // Since Linux 7 it has a name all the same.
  if (auto is_new = is_new_for_children(process.pid);
      is_new && *is_new && dumping.users.of(process.pid) == births.inside(process.pid).user) {
    out.set_children_in_new(true);
    return {};
  }
  return refuse("is to be one for its children whose first process has ended or is not part of the service");
}

Result<> describe_counters(Dumping& dumping, image::Tree& tree) {
  std::map<pid_t, image::Tree::PidNamespace*> firsts;
  for (const auto& process : dumping.processes) {
    if (!dumping.nested.is_first(process.pid)) continue;
    auto* out = tree.add_pid_namespaces();
    out->set_first(process.pid);
    out->set_owner(dumping.nested.owner(process.pid));
    if (!process.zombie) firsts.emplace(process.pid, out);
  }
  if (firsts.empty()) return {};
  pid_t limit = TRY(read_pid_counters(-1)).limit;
  for (auto [first, out] : firsts) {
    auto counters = TRY(read_pid_counters(TRY(open_namespace(first, "pid")).get()));
    if (counters.limit != limit)
      dumping.refuse(first, kObject,
                     fmt::format("has a pid_max of its own ({}), which is not supported yet", counters.limit));
    out->set_last(counters.last);
  }
  return {};
}

}  // namespace

Result<> survey_pid_namespaces(Dumping& dumping) {
  TRY(Survey(dumping).make());
  if (dumping.nested.all().empty()) return {};
  auto plan = plan_family(family_of(dumping));
  NestedPids nested = dumping.nested;
  if (plan) check_births(dumping, nested, *plan);  // a tree that cannot be had is refused later
  return {};
}

Result<> describe_pid_namespaces(Dumping& dumping, image::Tree& tree, std::span<const FamilyStep> plan) {
  for (const auto& [pid, levels] : dumping.nested.all()) {
    auto* out = tree.add_nested();
    out->set_pid(pid);
    for (const PidLevel& level : levels) {
      out->add_firsts(level.first);
      out->add_numbers(level.number);
    }
  }
  NestedPids nested = dumping.nested;
  Births births = births_of(dumping, nested, plan);
  for (auto& out : *tree.mutable_processes()) {
    auto process = std::ranges::find(dumping.processes, out.pid(), &StoppedProcess::pid);
    auto described = describe_children(dumping, births, *process, out);
    if (!described && described.error().refusal)
      dumping.refuse(out.pid(), kObject, described.error().what);
    else
      TRY(in(fmt::format("pid {}", out.pid()), std::move(described)));
  }
  return in(kObject, describe_counters(dumping, tree));
}

Result<NestedPids> nested_pids(const image::Tree& tree) {
  NestedPids nested;
  for (const auto& entry : tree.nested()) {
    if (entry.firsts_size() != entry.numbers_size()) return fail("numbers and PID namespaces do not agree");
    PidLevels levels;
    for (int i = 0; i < entry.firsts_size(); ++i) levels.push_back({entry.firsts(i), entry.numbers(i)});
    nested.add(entry.pid(), std::move(levels));
  }
  for (const auto& space : tree.pid_namespaces()) nested.set_owner(space.first(), space.owner());
  return nested;
}

Result<> direct_children(RemoteCalls& calls, pid_t first) {
  if (!first) {
    TRY(in("unshare", calls(SYS_unshare, CLONE_NEWPID)));
    return {};
  }
  auto fd = TRY(in("pidfd_open", calls(SYS_pidfd_open, first, 0)));
  auto entered = calls(SYS_setns, fd, CLONE_NEWPID);
  TRY(in("close", calls(SYS_close, fd)));
  TRY(in("setns", std::move(entered)));
  return {};
}

Result<> settle_pid_namespaces(const image::Tree& tree) {
  for (const auto& space : tree.pid_namespaces())
    if (space.last()) TRY(in(kObject, set_last_pid(TRY(open_namespace(space.first(), "pid")).get(), space.last())));
  return {};
}

}  // namespace ks::engine
