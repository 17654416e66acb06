// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/memory_sharing.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <map>

namespace ks::engine {

namespace {

using Action = FamilyStep::Action;

class Sharing {
 public:
  explicit Sharing(std::span<const FamilyMember> members) {
    for (const FamilyMember& member : members)
      if (member.memory) sharers_[member.pid] = member;
  }

  Result<std::vector<FamilyStep>> change(std::span<const FamilyStep> plan) {
    for (size_t i = 0; i < plan.size(); ++i) {
      auto sharer = sharers_.find(plan[i].who);
      if (plan[i].action != Action::clone || sharer == sharers_.end()) {
        add(plan[i]);
        continue;
      }
      // The end of a passing process follows the one birth that it is for.
      pid_t heir = plan[i].other < 0 && i + 1 < plan.size() ? plan[i + 1].other : 0;
      TRY(bear(sharer->second, plan[i], heir));
      made_.push_back(sharer->second);
    }
    return std::move(steps_);
  }

 private:
  struct Place {
    pid_t parent = 0, group = 0, session = 0;
  };

  void add(const FamilyStep& step) {
    steps_.push_back(step);
    switch (step.action) {
      case Action::clone: {
        Place place = places_[step.other];
        if (!(step.flags & CLONE_PARENT)) place.parent = step.other;
        places_[step.who] = place;
        return;
      }
      case Action::set_session:
        places_[step.who].session = places_[step.who].group = step.who;
        return;
      case Action::set_group:
        places_[step.who].group = step.other;
        return;
      case Action::end:
        places_.erase(step.who);
        for (auto& [pid, place] : places_)
          if (place.parent == step.who) place.parent = step.other;
    }
  }

  bool descends(pid_t from, pid_t ancestor) {
    for (pid_t at = from; at; at = places_[at].parent)
      if (at == ancestor) return true;
    return ancestor == 0;
  }

  Result<> bear(const FamilyMember& member, FamilyStep step, pid_t heir) {
    std::vector<FamilyMember> able;
    auto same = [&](pid_t FamilyMember::* what) {
      able.clear();
      std::ranges::copy_if(made_, std::back_inserter(able),
                           [&](const FamilyMember& other) { return other.*what == member.*what; });
      return !able.empty();
    };
    uint64_t flags = CLONE_VM;
    if (member.handlers && same(&FamilyMember::handlers)) {
      flags |= CLONE_SIGHAND;
    } else if (!same(&FamilyMember::memory)) {
      add(step);  // the first of them
      return {};
    }
    bool done = by_parent(able, step, flags) ||
                (step.other < 0 ? by_passing(able, step, flags, heir) : by_sibling(able, member, step, flags));
    if (done) return {};
    return refuse(fmt::format("pid {} shares {} with pid {}, but none of those that do could clone it", member.pid,
                              flags & CLONE_SIGHAND ? "signal handlers" : "memory", able.front().pid));
  }

  bool by_parent(std::span<const FamilyMember> able, FamilyStep step, uint64_t flags) {
    if (std::ranges::find(able, step.other, &FamilyMember::pid) == able.end()) return false;
    step.flags = flags;
    add(step);
    return true;
  }

  bool by_passing(std::span<const FamilyMember> able, FamilyStep step, uint64_t flags, pid_t heir) {
    Place born_in = places_[step.other];
    auto cloner = std::ranges::find_if(able, [&](const FamilyMember& other) {
      return places_[other.pid].session == born_in.session && descends(other.pid, heir);
    });
    if (cloner == able.end()) return false;
    FamilyStep passing = steps_.back();
    steps_.pop_back();
    passing.other = cloner->pid;
    passing.flags = step.flags = flags;
    add(passing);
    add(step);
    move_to(step.who, born_in.group);
    return true;
  }

  // Born in the same place, but for the group, and with the sibling's exit signal (clone(2)).
  bool by_sibling(std::span<const FamilyMember> able, const FamilyMember& member, FamilyStep step, uint64_t flags) {
    Place born_in = places_[step.other];
    auto cloner = std::ranges::find_if(able, [&](const FamilyMember& other) {
      const Place& place = places_[other.pid];
      return place.parent == step.other && place.session == born_in.session && (born_in.group || !place.group) &&
             (!step.other || other.exit_signal == member.exit_signal);
    });
    if (cloner == able.end()) return false;
    step.other = cloner->pid;
    step.flags = flags | CLONE_PARENT;
    add(step);
    move_to(step.who, born_in.group);
    return true;
  }

  void move_to(pid_t who, pid_t group) {
    if (places_[who].group != group) add({.action = Action::set_group, .who = who, .other = group});
  }

  std::map<pid_t, FamilyMember> sharers_;
  std::vector<FamilyMember> made_;  // of them
  std::map<pid_t, Place> places_;   // 0: somebody outside
  std::vector<FamilyStep> steps_;
};

}  // namespace

Result<std::vector<FamilyStep>> share_at_birth(std::span<const FamilyMember> members, std::vector<FamilyStep> plan) {
  if (std::ranges::none_of(members, &FamilyMember::memory)) return plan;
  return Sharing(members).change(plan);
}

}  // namespace ks::engine
