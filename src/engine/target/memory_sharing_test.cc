// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/memory_sharing.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

namespace ks::engine {
namespace {

using Action = FamilyStep::Action;

// What Linux makes of clone(2) and exit(2).
class Machine {
 public:
  struct Process {
    pid_t parent = 0, group = 0, session = 0;
    int memory = 0, handlers = 0;
  };

  void clone(pid_t by, pid_t who, uint64_t flags) {
    Process made = processes[by];
    if (!(flags & CLONE_PARENT)) made.parent = by;
    if (!(flags & CLONE_VM)) made.memory = ++last_;
    if (!(flags & CLONE_SIGHAND)) made.handlers = ++last_;
    processes[who] = made;
  }
  void set_session(pid_t who) { processes[who].session = processes[who].group = who; }
  void end(pid_t who, pid_t heir) {
    processes.erase(who);
    for (auto& [pid, process] : processes)
      if (process.parent == who) process.parent = heir;
  }
  void carry_out(const std::vector<FamilyStep>& steps) {
    for (const FamilyStep& step : steps) switch (step.action) {
        case Action::clone:
          clone(step.other, step.who, step.flags);
          break;
        case Action::set_session:
          set_session(step.who);
          break;
        case Action::set_group:
          processes[step.who].group = step.other;
          break;
        case Action::end:
          end(step.who, step.other);
      }
  }
  std::vector<FamilyMember> members() const {
    std::vector<FamilyMember> members;
    std::set<pid_t> placed = {0};
    auto sharer = [&](pid_t pid, int Process::* what) {
      int own = processes.at(pid).*what;
      std::vector<pid_t> all;
      for (const auto& [other, process] : processes)
        if (other && process.*what == own) all.push_back(other);
      return all.size() > 1 ? all.front() : 0;
    };
    while (placed.size() < processes.size())
      for (const auto& [pid, process] : processes)
        if (!placed.contains(pid) && placed.contains(process.parent)) {
          members.push_back({.pid = pid,
                             .parent = process.parent,
                             .group = process.group,
                             .session = process.session,
                             .memory = sharer(pid, &Process::memory),
                             .handlers = sharer(pid, &Process::handlers),
                             .exit_signal = 17});
          placed.insert(pid);
        }
    return members;
  }

  std::map<pid_t, Process> processes = {{0, {}}};

 private:
  int last_ = 0;
};

std::string describe(const std::vector<FamilyMember>& members) {
  std::string text;
  for (const auto& m : members)
    text += fmt::format("{{{}, {}, {}, {}, {}, {}}}\n", m.pid, m.parent, m.group, m.session, m.memory, m.handlers);
  return text;
}

void expect_carried_out(const std::vector<FamilyMember>& members) {
  auto plan = plan_family(members);
  ASSERT_TRUE(plan) << plan.error().what << "\n" << describe(members);
  Machine machine;
  machine.carry_out(*plan);
  EXPECT_EQ(describe(machine.members()), describe(members));
}

std::string refusal_of(const std::vector<FamilyMember>& members) {
  auto plan = plan_family(members);
  return plan ? "" : plan.error().what;
}

TEST(MemorySharing, OfChildAndGrandchild) {
  expect_carried_out({{10, 0, 10, 10, 10, 0}, {11, 10, 10, 10, 10, 0}, {12, 11, 10, 10, 10, 0}});
  expect_carried_out(
      {{10, 0, 10, 10, 10, 10}, {11, 10, 10, 10, 0, 0}, {12, 11, 10, 10, 0, 0}, {13, 10, 10, 10, 10, 10}});
}

TEST(MemorySharing, OfSiblings) {
  auto plan = plan_family(
      std::vector<FamilyMember>{{10, 0, 10, 10}, {11, 10, 10, 10, 11, 0, 17}, {12, 10, 10, 10, 11, 0, 17}});
  EXPECT_EQ(plan.value(), (std::vector<FamilyStep>{{Action::clone, 10, 0},
                                                   {Action::set_session, 10, 0},
                                                   {Action::clone, 11, 10},
                                                   {Action::clone, 12, 11, CLONE_VM | CLONE_PARENT}}));
  expect_carried_out({{10, 0, 10, 10}, {11, 10, 10, 10, 11, 11}, {12, 10, 10, 10, 11, 11}});
}

TEST(MemorySharing, OfSiblingsInDifferentGroups) {
  expect_carried_out({{10, 0, 10, 10}, {11, 10, 11, 10, 11, 0}, {12, 10, 10, 10, 11, 0}});
}

// A sibling's exit signal is that of the one that has cloned it.
TEST(MemorySharing, OfSiblingsWithDifferentExitSignals) {
  EXPECT_EQ(refusal_of({{10, 0, 10, 10}, {11, 10, 10, 10, 11, 0, 17}, {12, 10, 10, 10, 11, 0, 10}}),
            "pid 12 shares memory with pid 11, but none of those that do could clone it");
}

TEST(MemorySharing, OfOrphans) {
  expect_carried_out({{10, 0, 10, 10, 10, 0}, {12, 0, 10, 10, 10, 0}});
  expect_carried_out({{12, 0, 11, 11, 12, 12}, {13, 0, 11, 11, 12, 12}});
  expect_carried_out({{10, 0, 10, 10}, {11, 10, 11, 11, 11, 0}, {13, 10, 11, 11, 11, 0}});
}

TEST(MemorySharing, OfHandlersOnlyAmongChildren) {
  expect_carried_out({{10, 0, 10, 10, 10, 0}, {11, 10, 10, 10, 10, 11}, {12, 10, 10, 10, 10, 11}});
}

TEST(MemorySharing, OfCousins) {
  EXPECT_EQ(
      refusal_of(
          {{10, 0, 10, 10}, {11, 10, 10, 10}, {12, 10, 10, 10}, {13, 11, 10, 10, 13, 0}, {14, 12, 10, 10, 13, 0}}),
      "pid 14 shares memory with pid 13, but none of those that do could clone it");
}

// Whatever plan there is, it leads to where processes have come by themselves.
TEST(MemorySharing, OfRandomFamilies) {
  size_t planned = 0;
  for (unsigned seed = 0; seed < 2000; ++seed) {
    std::mt19937 random(seed);
    Machine machine;
    machine.clone(0, 100, 0);
    machine.set_session(100);
    for (pid_t next = 101; next < 112; ++next) {
      auto any = [&] { return std::next(machine.processes.begin(), 1 + random() % (machine.processes.size() - 1)); };
      pid_t by = any()->first;
      uint64_t flags = 0;
      if (random() % 2) flags |= CLONE_VM;
      if (flags && random() % 2) flags |= CLONE_SIGHAND;
      if (by != 100 && random() % 4 == 0) flags |= CLONE_PARENT;
      machine.clone(by, next, flags);
      if (random() % 8 == 0) machine.set_session(next);
      if (pid_t who = any()->first; random() % 4 == 0 && who != 100 && machine.processes[who].session != who)
        machine.end(who, random() % 2 ? 100 : 0);
    }
    auto members = machine.members();
    auto plan = plan_family(members);
    if (!plan) continue;
    ++planned;
    Machine made;
    made.carry_out(*plan);
    ASSERT_EQ(describe(made.members()), describe(members)) << "seed " << seed;
  }
  EXPECT_GT(planned, 500u);
}

}  // namespace
}  // namespace ks::engine
