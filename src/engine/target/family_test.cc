// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/family.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

namespace ks::engine {
namespace {

using Action = FamilyStep::Action;

// What Linux makes of fork(2), setsid(2), setpgid(2) and exit(2).
class Machine {
 public:
  struct Process {
    pid_t parent = 0, group = 0, session = 0;
    bool operator==(const Process&) const = default;
  };

  void fork(pid_t parent, pid_t child) {
    Process made{.parent = parent};
    if (parent) made.group = at(parent).group, made.session = at(parent).session;
    ASSERT_FALSE(in_use(child)) << child;
    processes_[child] = made;
  }
  void set_session(pid_t pid) {
    for (const auto& [other, process] : processes_) ASSERT_NE(process.group, pid) << "setsid of " << pid;
    at(pid).group = at(pid).session = pid;
  }
  bool may_join(pid_t pid, pid_t group) {
    if (at(pid).session == pid) return false;
    if (group == pid) return true;
    return std::ranges::any_of(processes_, [&](const auto& other) {
      return other.second.group == group && other.second.session == at(pid).session;
    });
  }
  void set_group(pid_t pid, pid_t group) {
    ASSERT_TRUE(may_join(pid, group)) << fmt::format("setpgid of {} to {}", pid, group);
    at(pid).group = group;
  }
  void end(pid_t pid, pid_t heir) {
    for (auto& [child, process] : processes_)
      if (process.parent == pid) process.parent = heir;
    ASSERT_EQ(processes_.erase(pid), 1u) << pid;
  }
  bool has_ancestor(pid_t pid, pid_t ancestor) {
    for (; pid; pid = at(pid).parent)
      if (pid == ancestor) return true;
    return ancestor == 0;
  }
  bool in_use(pid_t pid) {
    return std::ranges::any_of(processes_, [&](const auto& other) {
      return other.first == pid || other.second.group == pid || other.second.session == pid;
    });
  }
  Process& at(pid_t pid) {
    EXPECT_TRUE(processes_.contains(pid)) << "no process " << pid;
    return processes_[pid];
  }
  std::map<pid_t, Process> processes_;
};

Machine carry_out(const std::vector<FamilyStep>& steps) {
  Machine machine;
  for (const FamilyStep& step : steps) {
    if (testing::Test::HasFatalFailure()) break;
    switch (step.action) {
      case Action::clone:
        machine.fork(step.other, step.who);
        break;
      case Action::set_session:
        machine.set_session(step.who);
        break;
      case Action::set_group:
        machine.set_group(step.who, step.other);
        break;
      case Action::end:
        EXPECT_TRUE(machine.has_ancestor(step.who, step.other)) << step.who << " ends below " << step.other;
        machine.end(step.who, step.other);
        break;
    }
  }
  return machine;
}

std::vector<FamilyMember> members_of(const Machine& machine) {
  std::vector<FamilyMember> members;
  std::set<pid_t> placed = {0};
  while (members.size() < machine.processes_.size())
    for (const auto& [pid, process] : machine.processes_)
      if (!placed.contains(pid) && placed.contains(process.parent)) {
        members.push_back({pid, process.parent, process.group, process.session});
        placed.insert(pid);
      }
  return members;
}

std::string describe(const std::vector<FamilyMember>& members) {
  std::string text;
  for (const auto& m : members)
    text += fmt::format("pid {} parent {} group {} session {}\n", m.pid, m.parent, m.group, m.session);
  return text;
}

void expect_carried_out(const std::vector<FamilyMember>& members) {
  auto plan = plan_family(members);
  ASSERT_TRUE(plan) << plan.error().what << "\n" << describe(members);
  Machine machine = carry_out(*plan);
  ASSERT_EQ(machine.processes_.size(), members.size()) << describe(members);
  for (const auto& m : members) {
    Machine::Process wanted{m.parent, m.group, m.session};
    EXPECT_EQ(machine.at(m.pid), wanted) << "pid " << m.pid << " of\n" << describe(members);
  }
}

TEST(Family, OfOneIsClonedAndOpensItsSession) {
  auto plan = plan_family(std::vector<FamilyMember>{{7, 0, 7, 7}}).value();
  EXPECT_EQ(plan, (std::vector<FamilyStep>{{Action::clone, 7, 0}, {Action::set_session, 7, 0}}));
}

TEST(Family, ChildOfTheSessionThatItsParentHasLeft) {
  expect_carried_out({{10, 0, 10, 10}, {11, 10, 11, 11}, {12, 11, 10, 10}, {13, 11, 11, 11}});
}

// daemon(3): the one that opened the session has ended.
TEST(Family, SessionWithoutALeader) { expect_carried_out({{12, 0, 11, 11}, {13, 12, 11, 11}}); }

TEST(Family, OrphanInTheSessionOfAnotherRoot) { expect_carried_out({{10, 0, 10, 10}, {12, 0, 10, 10}}); }

TEST(Family, OrphanOfASubreaper) { expect_carried_out({{10, 0, 10, 10}, {11, 10, 11, 11}, {13, 10, 11, 11}}); }

TEST(Family, GroupsWhoseLeadersHaveChangedPlaces) {
  expect_carried_out({{10, 0, 10, 10}, {11, 10, 12, 10}, {12, 10, 11, 10}});
}

TEST(Family, GroupWithoutALeader) { expect_carried_out({{10, 0, 10, 10}, {12, 10, 11, 10}, {13, 12, 11, 10}}); }

TEST(Family, ThatCannotBe) {
  // In the session of a cousin who could not have been cloned above.
  EXPECT_FALSE(
      plan_family(std::vector<FamilyMember>{{10, 0, 10, 10}, {11, 10, 11, 11}, {12, 10, 10, 10}, {13, 12, 11, 11}}));
  EXPECT_FALSE(plan_family(std::vector<FamilyMember>{{10, 0, 10, 10}, {11, 10, 12, 10}, {13, 0, 12, 13}}));
}

TEST(Family, LostLeaders) {
  EXPECT_EQ(lost_leaders(std::vector<FamilyMember>{{12, 0, 9, 11}, {13, 12, 12, 11}}), (std::vector<pid_t>{9, 11}));
}

TEST(Family, DeepAndWide) {
  std::vector<FamilyMember> deep, wide = {{1, 0, 1, 1}};
  for (pid_t pid = 1; pid <= 5000; ++pid) {
    deep.push_back({pid, pid - 1, pid, pid});
    wide.push_back({pid + 1, 1, 1, 1});
  }
  deep.push_back({5001, 5000, 1, 1});  // all of them were born in the first one's session
  expect_carried_out(wide);
  auto plan = plan_family(deep);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->size(), 5001u + 5000u);
}

// Whatever a random history leaves behind.
TEST(Family, OfRandomHistories) {
  std::mt19937 random(20240611);
  auto up_to = [&](size_t n) { return std::uniform_int_distribution<size_t>(0, n)(random); };
  for (int history = 0; history < 3000; ++history) {
    Machine machine;
    std::set<pid_t> reapers;
    pid_t next = 100;
    machine.fork(0, next);
    machine.set_session(next);
    for (size_t i = 0, count = 5 + up_to(60); i < count && !machine.processes_.empty(); ++i) {
      pid_t pid =
          std::next(machine.processes_.begin(), static_cast<long>(up_to(machine.processes_.size() - 1)))->first;
      auto& process = machine.at(pid);
      switch (up_to(9)) {
        case 0:
          if (!std::ranges::any_of(machine.processes_, [&](auto& other) { return other.second.group == pid; }))
            machine.set_session(pid);
          break;
        case 1:
          if (machine.may_join(pid, pid)) machine.set_group(pid, pid);
          break;
        case 2: {
          auto& other =
              std::next(machine.processes_.begin(), static_cast<long>(up_to(machine.processes_.size() - 1)))->second;
          if (other.session == process.session && machine.may_join(pid, other.group))
            machine.set_group(pid, other.group);
          break;
        }
        case 3:
        case 4: {
          if (machine.processes_.size() == 1) break;
          pid_t heir = process.parent;
          while (heir && !reapers.contains(heir)) heir = machine.at(heir).parent;
          machine.end(pid, heir);
          break;
        }
        case 5:
          reapers.insert(pid);
          break;
        default:
          machine.fork(pid, ++next);
      }
    }
    expect_carried_out(members_of(machine));
    if (HasFailure()) FAIL() << "history " << history;
  }
}

}  // namespace
}  // namespace ks::engine
