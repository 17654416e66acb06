// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/task/descent.h"

#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>

#include "base/file.h"
#include "base/text.h"
#include "engine/task/born_inside.h"
#include "engine/task/clone.h"
#include "engine/task/controlling_terminal.h"
#include "engine/task/passing.h"
#include "engine/task/pid_namespaces.h"

namespace ks::engine {

namespace {

// Does not outlive this object.
struct Mortal {
  SeizedThread& hold;
  ~Mortal() {
    if (!hold.tid()) return;
    ::kill(hold.tid(), SIGKILL);
    hold.forget();
  }
};

FamilyMember member_of(const image::Tree::Process& process) {
  return {.pid = process.pid(),
          .parent = process.parent(),
          .group = process.group(),
          .session = process.session(),
          .memory = process.memory_of(),
          .handlers = process.handlers_of(),
          .exit_signal = process.exit_signal()};
}

class Descent {
 public:
  Descent(std::deque<RestoredProcess>& processes, const image::Tree& tree, Seed& seed, Restoring& restoring,
          const std::set<pid_t>& taken, const AtBirth& at_birth, const Disguise& disguise)
      : processes_(processes),
        tree_(tree),
        seed_(seed),
        restoring_(restoring),
        parking_(restoring.parking),
        taken_(taken),
        at_birth_(at_birth),
        disguise_(disguise),
        nested_(restoring.nested) {
    for (int i = 0; i < tree.processes_size(); ++i) add(tree.processes(i), static_cast<size_t>(i));
    for (const auto& zombie : tree.zombies()) add(zombie.process(), kNone);
  }

  Result<> carry_out() {
    processes_.resize(static_cast<size_t>(tree_.processes_size()));
    auto plan = TRY(plan_family(family_of(tree_)));
    TRY(at_birth_({}, seed_.calls(), seed_.memory()));
    for (const FamilyStep& step : plan) TRY(in(label(step.who), step_by(step)));
    for (const auto& zombie : tree_.zombies()) TRY(in(label(zombie.process().pid()), end_zombie(zombie)));
    TRY(forget_their_ends());
    TRY(end_loans());
    for (const auto& process : tree_.processes()) TRY(in(label(process.pid()), direct(process)));
    return {};
  }

 private:
  static constexpr size_t kNone = static_cast<size_t>(-1);
  struct Member {
    size_t index = kNone;  // of a living one
    int exit_signal = 0;
    pid_t descriptors_of = 0, directories_of = 0, memory_of = 0;
  };
  // Whether the one who is to clone somebody has what that one shares with `first`, for good or for the moment.
  Result<bool> has_for(pid_t by, pid_t first, pid_t Member::* of, uint64_t flag) {
    auto member = by_pid_.find(by);
    if (!first || by == first || (member != by_pid_.end() && member->second.*of == first)) return first != 0;
    auto [lent, is_new] = lent_.try_emplace({by, flag}, first);
    if (!is_new && lent->second != first) {
      TRY(in("unshare", (*TRY(calls_of(by)))(SYS_unshare, flag)));
      lent->second = first;
    }
    return true;
  }
  Result<> end_loans() {
    for (const auto& [loan, first] : lent_) {
      auto [lender, flag] = loan;
      auto member = by_pid_.find(lender);
      if (member == by_pid_.end() || member->second.index == kNone) continue;  // it has ended, or will
      TRY(in(label(lender), in("unshare", (*TRY(calls_of(lender)))(SYS_unshare, flag))));
    }
    return {};
  }

  // Where the children of a process will be.
  Result<> direct(const image::Tree::Process& process) {
    RemoteCalls& calls = *TRY(calls_of(process.pid()));
    if (births_.inside(process.pid()).user && !process.children_in_new()) {
      if (TRY(births_.turn(process.pid(), process.children_in()))) TRY(turn_home(calls));
    } else if (process.children_in() || process.children_in_new()) {
      if (process.children_in_new()) TRY(turn_home(calls));
      TRY(direct_children(calls, nested_.seen_by(process.pid(), process.children_in())));
    }
    return {};
  }
  static Result<> turn_home(RemoteCalls& calls) {
    return direct_children(calls, static_cast<pid_t>(TRY(calls(SYS_getpid))));
  }

  void add(const image::Tree::Process& process, size_t index) {
    by_pid_[process.pid()] = {.index = index,
                              .exit_signal = process.exit_signal(),
                              .descriptors_of = process.descriptors_of(),
                              .directories_of = process.directories_of(),
                              .memory_of = process.memory_of()};
  }

  static std::string label(pid_t who) { return who > 0 ? fmt::format("pid {}", who) : "a process in passing"; }

  Result<RemoteCalls*> calls_of(pid_t who) {
    if (who == 0) return &seed_.calls();
    if (auto passing = passing_.find(who); passing != passing_.end()) return &passing->second->calls();
    auto member = by_pid_.find(who);
    if (member == by_pid_.end() || member->second.index == kNone || processes_[member->second.index].threads.empty())
      return fail(fmt::format("pid {} is not there", who));
    return &processes_[member->second.index].leader();
  }
  const RemoteMemory& memory_of(pid_t who) {
    if (who == 0) return seed_.memory();
    if (auto passing = passing_.find(who); passing != passing_.end()) return passing->second->memory();
    return *processes_[by_pid_.at(who).index].memory;
  }

  Result<> step_by(const FamilyStep& step) {
    switch (step.action) {
      case FamilyStep::Action::clone:
        return clone(step.who, step.other, step.flags);
      case FamilyStep::Action::set_session:
        TRY(in("setsid", (*TRY(calls_of(step.who)))(SYS_setsid)));
        if (auto member = by_pid_.find(step.who); member != by_pid_.end() && member->second.index != kNone)
          TRY(take_terminal(restoring_, tree_.processes(static_cast<int>(member->second.index)),
                            *TRY(calls_of(step.who))));
        return {};
      case FamilyStep::Action::set_group: {
        auto real = passing_pids_.find(step.other);
        pid_t group = real == passing_pids_.end() ? step.other : real->second;
        pid_t known_as = nested_.seen_by(step.who, group);
        if (!known_as) return fail(fmt::format("cannot see process group {}", group));
        TRY(in("setpgid", (*TRY(calls_of(step.who)))(SYS_setpgid, 0, known_as)));
        return {};
      }
      case FamilyStep::Action::end:
        return end(step.who, step.other);
    }
    return fail("unknown step");
  }

  // The first of those who have the same memory.
  pid_t sharer_of(pid_t who) const {
    auto member = by_pid_.find(who);
    return member != by_pid_.end() && member->second.memory_of ? member->second.memory_of : who;
  }

  Result<> clone(pid_t who, pid_t by, uint64_t flags) {
    RemoteCalls& caller = *TRY(calls_of(by));
    auto member = by_pid_.find(who);
    bool passes = member == by_pid_.end();
    pid_t pid = who;
    if (!passes) {
      if (TRY(has_for(by, member->second.descriptors_of, &Member::descriptors_of, CLONE_FILES))) flags |= CLONE_FILES;
      if (TRY(has_for(by, member->second.directories_of, &Member::directories_of, CLONE_FS))) flags |= CLONE_FS;
    }
    Birth birth = TRY(births_.next(who, by));
    if (Inside inside = births_.inside(who); inside.user && who > 0) restoring_.inside[who] = inside;
    int exit_signal = passes || flags & CLONE_PARENT ? 0 : member->second.exit_signal;  // a sibling's is the same
    bool joins = birth.way == NestedPids::Way::joined && !births_.inside(by).user;
    if (joins) TRY(direct_children(caller, nested_.seen_by(by, nested_.home(who))));
    if (birth.turns_home) TRY(turn_home(caller));
    if (!births_.inside(who).user) restoring_.reserved.release(pid);
    if (birth.way == NestedPids::Way::founded && !births_.inside(who).user) flags |= CLONE_NEWPID;
    auto thread = who < 0                    ? clone_anywhere(by, flags, 0, pid)
                  : births_.inside(who).user ? clone_inside(who, by, birth, flags, exit_signal)
                                             : remote_clone(caller, memory_of(by), parking_.scratch(), flags,
                                                            exit_signal, pids_to_set(pid, nested_.levels(pid)));
    if (!thread) return std::unexpected(std::move(thread).error());
    if (who < 0) nested_.add(who, levels_beside(by, pid));
    if (joins) TRY(turn_home(caller));
    RemoteMemory memory = TRY(RemoteMemory::open(pid));
    if (passes || member->second.index == kNone) {
      passing_[who] = std::make_unique<Passing>(*std::move(thread), caller, std::move(memory));
      passing_pids_[who] = pid;
      makers_[who] = by;
      return {};
    }
    RestoredProcess& process = processes_[member->second.index];
    process.pid = pid;
    process.memory_of = sharer_of(pid);
    process.shares_descriptors = flags & CLONE_FILES && member->second.descriptors_of != who;
    process.shares_directories = flags & CLONE_FS && member->second.directories_of != who;
    process.scratch = parking_.scratch();
    process.threads.emplace_back(*std::move(thread), caller.base(), caller.instruction());
    process.memory = std::move(memory);
    if (flags & CLONE_VM) return {};  // there is nothing to be made of it
    while (passing_.contains(by)) by = makers_.at(by);
    return at_birth_({sharer_of(pid), sharer_of(by)}, process.leader(), *process.memory);
  }

  // The numbers of one whom `by` clones under a PID of ours that is his number everywhere.
  PidLevels levels_beside(pid_t by, pid_t pid) const {
    PidLevels levels = nested_.levels(by);
    for (PidLevel& level : levels) level.number = pid;
    return levels;
  }

  // Under a PID that nobody needs, from the top, where nobody counts; in all PID namespaces that its maker is in.
  Result<SeizedThread> clone_anywhere(pid_t by, uint64_t flags, int exit_signal, pid_t& pid) {
    auto limit = parse_number<pid_t>(trim(TRY(read_file("/proc/sys/kernel/pid_max"))));
    if (!limit) return fail("pid_max: not a number");
    for (pid = *limit - 1; pid > *limit / 2; --pid) {
      if (taken_.contains(pid)) continue;
      Result<> reserved = births_.inside(by).user ? restoring_.reserved.reserve(pid) : Result<>();
      if (!reserved && reserved.error().code == EEXIST) continue;
      TRY(std::move(reserved));
      auto thread = clone_numbered(
          by, by, flags, exit_signal,
          new_numbers(pid, levels_beside(by, pid), nested_, restoring_.namespaces.users, births_.inside(by).user));
      if (thread || thread.error().code != EEXIST) return thread;
    }
    return fail("no PID is free");
  }

  // By one who may not choose all of its numbers, if he is born inside.
  Result<SeizedThread> clone_numbered(pid_t by, pid_t parent, uint64_t flags, int exit_signal,
                                      const NewNumbers& numbers, const std::function<Result<>()>& again = {}) {
    RemoteCalls& caller = *TRY(calls_of(by));
    if (!births_.inside(by).user)
      return remote_clone(caller, memory_of(by), parking_.scratch(), flags, exit_signal, numbers.chosen);
    auto discard = [&](SeizedThread wrong) -> Result<> {
      TRY(end_child(parent, std::move(wrong), exit_signal));
      return again ? again() : Result<>();
    };
    return remote_clone_in_turn(caller, memory_of(by), parking_.scratch(), flags, exit_signal, numbers,
                                restoring_.reserved, discard);
  }

  Result<> end_child(pid_t parent, SeizedThread child, int exit_signal) {
    if (::kill(child.tid(), SIGKILL)) return fail_errno("kill");
    while (TRY(child.wait()) != SeizedThread::Stop::gone) (void)child.resume();
    auto waited = TRY(in("wait4", (*TRY(calls_of(parent)))(SYS_wait4, -1, 0, WNOHANG | __WALL, 0)));
    if (!waited) return fail("does not end");
    if (exit_signal && by_pid_.contains(parent) && by_pid_.at(parent).index != kNone)
      told_.emplace(parent, exit_signal);
    return {};
  }

  // In a user namespace, by one who is there, or by one in passing who enters it.
  Result<SeizedThread> clone_inside(pid_t who, pid_t by, const Birth& birth, uint64_t flags, int exit_signal) {
    uint32_t user = births_.inside(who).user;
    NewNumbers numbers = new_numbers(who, nested_.levels(who), nested_, restoring_.namespaces.users, user);
    RemoteCalls& caller = *TRY(calls_of(by));
    if (birth.by_envoy) {
      pid_t pid = 0;
      auto thread = TRY(in("a process in passing", clone_anywhere(by, flags, exit_signal, pid)));
      RestoredProcess envoy;
      envoy.pid = births_.inside(who).founder;
      envoy.scratch = parking_.scratch();
      envoy.memory = TRY(RemoteMemory::open(pid));
      envoy.threads.emplace_back(std::move(thread), caller.base(), caller.instruction());
      Mortal mortal{envoy.threads.front().hold};
      if (!births_.inside(by).user) TRY(disguise_(envoy));
      TRY(in("setns", envoy.leader()(SYS_setns, restoring_.namespaces.entries.at(user).fd.get(), CLONE_NEWUSER)));
      auto discard = [&](SeizedThread wrong) { return end_child(by, std::move(wrong), exit_signal); };
      auto first =
          TRY(remote_clone_in_turn(envoy.leader(), *envoy.memory, envoy.scratch, flags | CLONE_PARENT | CLONE_NEWPID,
                                   0, numbers, restoring_.reserved, discard));
      TRY(end_child(by, std::move(envoy.threads.front().hold), exit_signal));
      return first;
    }
    auto found = [&]() -> Result<> { return direct_children(caller, 0); };
    auto found_again = [&]() -> Result<> {
      TRY(turn_home(caller));
      return found();
    };
    if (birth.way != NestedPids::Way::founded) return clone_numbered(by, by, flags, exit_signal, numbers);
    TRY(found());
    return clone_numbered(by, by, flags, exit_signal, numbers, found_again);
  }

  Result<> end(pid_t who, pid_t heir) {
    auto passing = passing_.extract(who);
    if (passing.empty()) return fail("is not there");
    if (heir)
      TRY(in("PR_SET_CHILD_SUBREAPER", (*TRY(calls_of(heir)))(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)));
    TRY(passing.mapped()->end_by(SIGKILL));
    // It has no exit signal: only this finds it.
    pid_t known_as = nested_.seen_by(makers_[who], who);
    if (makers_[who] == 0 || nested_.levels(makers_[who]).empty()) known_as = passing_pids_[who];
    auto waited = TRY(in("wait4", (*TRY(calls_of(makers_[who])))(SYS_wait4, known_as, 0, WNOHANG | __WALL, 0)));
    if (waited != static_cast<uint64_t>(known_as)) return fail("does not end");
    passing_pids_.erase(who);
    if (heir)
      TRY(in("PR_SET_CHILD_SUBREAPER", (*TRY(calls_of(heir)))(SYS_prctl, PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)));
    return {};
  }

  Result<> end_zombie(const image::Tree::Zombie& zombie) {
    auto passing = passing_.extract(zombie.process().pid());
    if (passing.empty()) return fail("is not there");
    if (zombie.uids_size() != 3 || zombie.gids_size() != 3) return fail("not three ids");
    RemoteCalls& calls = passing.mapped()->calls();
    const RemoteMemory& memory = passing.mapped()->memory();
    TRY(memory.write(parking_.scratch(), std::as_bytes(std::span(zombie.comm().c_str(), zombie.comm().size() + 1))));
    TRY(in("PR_SET_NAME", calls(SYS_prctl, PR_SET_NAME, parking_.scratch())));
    if (births_.inside(zombie.process().pid()).user) {
      Ids to = ids_of(TRY(parse_status(TRY(read_file(proc_path(zombie.process().pid(), "status"))))));
      for (size_t i = 0; i < 4; ++i) {  // files are made with the effective ones
        to.uids[i] = zombie.uids(i < 3 ? static_cast<int>(i) : 1);
        to.gids[i] = zombie.gids(i < 3 ? static_cast<int>(i) : 1);
      }
      TRY(take_ids_inside(calls, memory, parking_.scratch(), to));
    } else {
      TRY(in("setresgid", calls(SYS_setresgid, zombie.gids(0), zombie.gids(1), zombie.gids(2))));
      TRY(in("setresuid", calls(SYS_setresuid, zombie.uids(0), zombie.uids(1), zombie.uids(2))));
    }
    int status = zombie.exit_code();
    TRY(WIFSIGNALED(status) ? passing.mapped()->end_by(WTERMSIG(status))
                            : passing.mapped()->exit(WEXITSTATUS(status)));
    auto stat = TRY(parse_stat(TRY(read_file(proc_path(zombie.process().pid(), "stat")))));
    if (stat.state != 'Z' || stat.exit_code != status)
      return fail(fmt::format("has ended with {:#x} instead of {:#x}", stat.exit_code, status));
    return {};
  }

  // Their parents have heard of them before: what has just been queued is discarded by ignoring it for a
  // moment (sigaction(2)). What was still queued comes back with the other pending signals.
  Result<> forget_their_ends() {
    constexpr uint64_t kIgnore = 1, kSignalSetSize = 8;
    struct {
      uint64_t handler, flags, restorer, mask;
    } action{};
    auto signals = told_;
    for (const auto& zombie : tree_.zombies())
      if (zombie.process().exit_signal()) signals.emplace(zombie.process().parent(), zombie.process().exit_signal());
    for (auto [parent, signal] : signals)
      for (uint64_t handler : {kIgnore, uint64_t{0}}) {
        action.handler = handler;
        TRY(memory_of(parent).write_value(parking_.scratch(), action));
        TRY(in("sigaction",
               (*TRY(calls_of(parent)))(SYS_rt_sigaction, signal, parking_.scratch(), 0, kSignalSetSize)));
      }
    return {};
  }

  std::deque<RestoredProcess>& processes_;
  const image::Tree& tree_;
  Seed& seed_;
  Restoring& restoring_;
  const Parking& parking_;
  const std::set<pid_t>& taken_;
  const AtBirth& at_birth_;
  const Disguise& disguise_;
  NestedPids nested_;  // processes in passing too
  Births births_{nested_, restoring_.namespaces.users};
  std::set<std::pair<pid_t, int>> told_;  // living parents, of the end of others than zombies
  std::map<pid_t, Member> by_pid_;
  std::map<pid_t, std::unique_ptr<Passing>> passing_;  // zombies too
  std::map<pid_t, pid_t> passing_pids_, makers_;
  std::map<std::pair<pid_t, uint64_t>, pid_t> lent_;  // by lender and CLONE_...: the first one of those who share it
};

}  // namespace

std::vector<FamilyMember> family_of(const image::Tree& tree) {
  std::vector<FamilyMember> members;
  for (const auto& process : tree.processes()) members.push_back(member_of(process));
  for (const auto& zombie : tree.zombies()) members.push_back(member_of(zombie.process()));
  return members;
}

Result<std::vector<Cloner>> cloners_of(const image::Tree& tree) {
  std::map<pid_t, pid_t> first;  // of those who have the same memory
  for (const auto& process : tree.processes())
    first[process.pid()] = process.memory_of() ? process.memory_of() : process.pid();
  std::vector<Cloner> cloners;
  std::map<pid_t, pid_t> passing;
  for (const FamilyStep& step : TRY(plan_family(family_of(tree)))) {
    if (step.action != FamilyStep::Action::clone) continue;
    pid_t by = step.other;
    if (auto found = passing.find(by); found != passing.end()) by = found->second;
    if (auto found = first.find(by); found != first.end()) by = found->second;
    if (auto found = first.find(step.who); found == first.end())
      passing[step.who] = by;
    else if (!(step.flags & CLONE_VM))
      cloners.push_back({found->second, by});
  }
  return cloners;
}

std::set<pid_t> pids_of(const image::Tree& tree) {
  std::set<pid_t> pids;
  auto add = [&](const image::Tree::Process& process) {
    pids.insert({process.pid(), process.group(), process.session()});
  };
  for (const auto& process : tree.processes()) add(process);
  for (const auto& zombie : tree.zombies()) add(zombie.process());
  return pids;
}

Result<> clone_family(std::deque<RestoredProcess>& processes, const image::Tree& tree, Seed& seed,
                      Restoring& restoring, const std::set<pid_t>& taken, const AtBirth& at_birth,
                      const Disguise& disguise) {
  return Descent(processes, tree, seed, restoring, taken, at_birth, disguise).carry_out();
}

}  // namespace ks::engine
