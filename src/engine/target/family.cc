// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/family.h"

#include <fmt/format.h>

#include <map>

namespace ks::engine {

namespace {

class Plan {
 public:
  explicit Plan(std::span<const FamilyMember> members) : members_(members) {
    for (size_t i = 0; i < members.size(); ++i) by_pid_[members[i].pid] = i;
    for (size_t i = 0; i < members.size(); ++i)
      if (by_pid_.contains(members[i].parent)) children_[members[i].parent].push_back(i);
  }

  Result<std::vector<FamilyStep>> make() {
    for (size_t i = 0; i < members_.size(); ++i)
      if (!by_pid_.contains(members_[i].parent)) TRY(add(i, 0));
    for (const FamilyMember& member : members_) TRY(check_group(member));
    return std::move(steps_);
  }

 private:
  // Whether the member, cloned into `session`, and all below it can reach their sessions.
  bool fits(size_t index, pid_t session) const {
    const FamilyMember& member = members_[index];
    bool leads = member.session == member.pid;
    if (!leads && member.session != session) return false;
    auto children = children_.find(member.pid);
    if (children == children_.end()) return true;
    for (size_t child : children->second)
      if (!fits(child, member.session) && !(leads && fits(child, session))) return false;
    return true;
  }

  Result<> add(size_t index, pid_t session) {
    const FamilyMember& member = members_[index];
    if (!fits(index, session))
      return refuse(
          fmt::format("session {}, of it or of a child, was opened by a process that is gone or no ancestor; "
                      "start it with setsid(1)",
                      member.session));
    steps_.push_back({FamilyStep::Action::clone, index});
    bool leads = member.session == member.pid;
    const auto& children = children_[member.pid];
    if (leads) {
      for (size_t child : children)
        if (!fits(child, member.session)) TRY(add(child, session));
      steps_.push_back({FamilyStep::Action::set_session, index});
    }
    for (size_t child : children)
      if (fits(child, member.session)) TRY(add(child, member.session));
    return {};
  }

  Result<> check_group(const FamilyMember& member) const {
    auto leader = by_pid_.find(member.group);
    if (leader != by_pid_.end() && members_[leader->second].session == member.session &&
        members_[leader->second].group == member.group)
      return {};
    return in(fmt::format("pid {}", member.pid),
              Result<>(refuse(
                  fmt::format("process group {} has lost its leader, which is not supported yet", member.group))));
  }

  std::span<const FamilyMember> members_;
  std::map<pid_t, size_t> by_pid_;
  std::map<pid_t, std::vector<size_t>> children_;
  std::vector<FamilyStep> steps_;
};

}  // namespace

Result<std::vector<FamilyStep>> plan_family(std::span<const FamilyMember> members) { return Plan(members).make(); }

}  // namespace ks::engine
