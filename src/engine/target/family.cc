// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/family.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "engine/target/memory_sharing.h"

namespace ks::engine {

namespace {

using Action = FamilyStep::Action;

constexpr size_t kOutside = static_cast<size_t>(-1);

// How a member comes into the session in which it is born.
enum class Birth {
  by_parent,
  by_parent_early,  // before the parent has opened its own session
  by_passing,       // which a member of that session has cloned, and whose end gives it to its parent
};

struct Node {
  FamilyMember member;
  size_t parent = kOutside;
  std::vector<size_t> children;
  size_t first = 0, last = 0, depth = 0;  // of itself and all below it, in the order of a walk
  // Sessions that it has to be born in for the sake of those below it.
  std::vector<pid_t> wanted;
  Birth birth = Birth::by_parent;
  pid_t birth_session = 0, birth_group = 0;  // 0: those of somebody outside
  pid_t group = 0;                           // as long as it is what its children inherit

  bool leads() const { return member.session == member.pid; }
};

struct LostSession {
  std::vector<size_t> heirs;  // parents that get orphans from it
  size_t host = kOutside;     // the one below which its passing leader is made
};

// What has to happen before what.
class Dependencies {
 public:
  explicit Dependencies(size_t events) : next_(events), missing_(events) {}
  void add(size_t first, size_t then) {
    next_[first].push_back(then);
    ++missing_[then];
  }
  // Shorter than the number of events if they depend on each other in a circle.
  std::vector<size_t> order() {
    std::vector<size_t> ready;
    for (size_t event = 0; event < next_.size(); ++event)
      if (missing_[event] == 0) ready.push_back(event);
    for (size_t at = 0; at < ready.size(); ++at)
      for (size_t event : next_[ready[at]])
        if (--missing_[event] == 0) ready.push_back(event);
    return ready;
  }

 private:
  std::vector<std::vector<size_t>> next_;
  std::vector<size_t> missing_;
};

class Plan {
 public:
  // Nobody tells whether a lost leader once was above or below those that it has left behind.
  Plan(std::span<const FamilyMember> members, bool lost_were_below)
      : nodes_(members.size()), lost_were_below_(lost_were_below) {
    for (size_t i = 0; i < members.size(); ++i) {
      nodes_[i].member = members[i];
      by_pid_[members[i].pid] = i;
    }
    for (size_t i = 0; i < nodes_.size(); ++i)
      if (auto parent = by_pid_.find(members[i].parent); parent != by_pid_.end()) {
        nodes_[i].parent = parent->second;
        nodes_[parent->second].children.push_back(i);
      }
  }

  Result<std::vector<FamilyStep>> make() {
    number();
    find_wanted();
    for (size_t i = 0; i < nodes_.size(); ++i) TRY(choose_birth(i));
    for (auto& [session, lost] : lost_) TRY(find_host(session, lost));
    TRY(give_birth());
    TRY(make_groups());
    for (const auto& [session, lost] : lost_) add(Action::end, session);
    return std::move(steps_);
  }

 private:
  pid_t pid_of(size_t index) const { return index == kOutside ? 0 : nodes_[index].member.pid; }
  bool has_ancestor(size_t index, size_t ancestor) const {
    if (ancestor == kOutside) return true;
    return index != kOutside && nodes_[ancestor].first <= nodes_[index].first &&
           nodes_[index].first <= nodes_[ancestor].last;
  }
  void add(Action action, pid_t who, pid_t other = 0) {
    steps_.push_back({.action = action, .who = who, .other = other});
  }

  void number() {
    size_t next = 0;
    std::vector<std::pair<size_t, size_t>> path;  // node, and its next child
    for (size_t root = 0; root < nodes_.size(); ++root) {
      if (nodes_[root].parent != kOutside) continue;
      nodes_[root].first = next++;
      path.emplace_back(root, 0);
      while (!path.empty()) {
        auto& [index, child] = path.back();
        Node& node = nodes_[index];
        if (child == node.children.size()) {
          node.last = next - 1;
          path.pop_back();
          continue;
        }
        size_t below = node.children[child++];
        nodes_[below].first = next++;
        nodes_[below].depth = path.size();
        path.emplace_back(below, 0);
      }
    }
  }

  void find_wanted() {
    for (size_t i = nodes_.size(); i-- > 0;) {
      Node& node = nodes_[i];
      if (!node.leads()) {
        node.wanted = {node.member.session};
        continue;
      }
      std::set<pid_t> wanted;
      for (size_t child : node.children)
        for (pid_t session : nodes_[child].wanted) {
          auto leader = by_pid_.find(session);
          bool opened_below = leader == by_pid_.end() ? lost_were_below_ : has_ancestor(leader->second, i);
          if (!opened_below) wanted.insert(session);
        }
      // It was born in one only. Children in others are orphans.
      if (node.parent != kOutside)
        if (pid_t given = nodes_[node.parent].member.session; wanted.contains(given)) wanted = {given};
      node.wanted.assign(wanted.begin(), wanted.end());
    }
  }

  Birth way_into(pid_t session, size_t parent) const {
    if (parent == kOutside) return Birth::by_passing;
    const Node& node = nodes_[parent];
    if (session == node.member.session) return Birth::by_parent;
    return node.leads() && session == node.birth_session ? Birth::by_parent_early : Birth::by_passing;
  }

  Result<> choose_birth(size_t index) {
    Node& node = nodes_[index];
    const Node* parent = node.parent == kOutside ? nullptr : &nodes_[node.parent];
    if (node.wanted.empty()) {
      node.birth_session = parent ? parent->member.session : 0;
    } else {
      auto natural = std::ranges::find_if(
          node.wanted, [&](pid_t session) { return way_into(session, node.parent) != Birth::by_passing; });
      node.birth_session = natural == node.wanted.end() ? node.wanted.front() : *natural;
      node.birth = way_into(node.birth_session, node.parent);
    }
    switch (node.birth) {
      case Birth::by_parent:
      case Birth::by_parent_early:
        return {};
      case Birth::by_passing:
        break;
    }
    return check_orphan(node);
  }

  Result<> check_orphan(const Node& node) {
    pid_t session = node.birth_session;
    auto leader = by_pid_.find(session);
    if (leader == by_pid_.end()) {
      lost_[session].heirs.push_back(node.parent);
      return {};
    }
    if (!nodes_[leader->second].leads() || !has_ancestor(leader->second, node.parent))
      return refuse(
          fmt::format("pid {} belongs to session {}, which none of its ancestors is in", node.member.pid, session));
    return {};
  }

  // Orphans fall to the next ancestor that takes them, so all heirs lie on one line.
  Result<> find_host(pid_t session, LostSession& lost) {
    auto depth = [&](size_t index) { return index == kOutside ? 0 : nodes_[index].depth + 1; };
    lost.host = *std::ranges::max_element(lost.heirs, {}, depth);
    for (size_t heir : lost.heirs)
      if (!has_ancestor(lost.host, heir))
        return refuse(
            fmt::format("session {} has lost its leader, and its processes have parents that none of them could "
                        "come from",
                        session));
    return {};
  }

  Result<> give_birth() {
    // Of each member its birth and the opening of its session, then those of the passing leaders.
    auto born = [](size_t index) { return 2 * index; };
    auto settled = [](size_t index) { return 2 * index + 1; };
    std::vector<pid_t> lost;
    lost.reserve(lost_.size());
    for (const auto& [session, unused] : lost_) lost.push_back(session);
    auto led = [&](pid_t session) {
      return 2 * nodes_.size() + static_cast<size_t>(std::ranges::lower_bound(lost, session) - lost.begin());
    };
    Dependencies dependencies(2 * nodes_.size() + lost.size());
    for (size_t i = 0; i < nodes_.size(); ++i) {
      const Node& node = nodes_[i];
      dependencies.add(born(i), settled(i));
      if (node.parent != kOutside) dependencies.add(born(node.parent), born(i));
      if (node.birth == Birth::by_parent && node.parent != kOutside) dependencies.add(settled(node.parent), born(i));
      if (node.birth == Birth::by_parent_early) dependencies.add(born(i), settled(node.parent));
      if (node.birth != Birth::by_passing) continue;
      auto leader = by_pid_.find(node.birth_session);
      dependencies.add(leader == by_pid_.end() ? led(node.birth_session) : settled(leader->second), born(i));
    }
    for (const auto& [session, loss] : lost_)
      if (loss.host != kOutside) dependencies.add(born(loss.host), led(session));

    auto order = dependencies.order();
    if (order.size() != 2 * nodes_.size() + lost.size())
      return refuse("its sessions cannot have been opened in any order");
    for (size_t event : order) {
      if (event >= 2 * nodes_.size()) {
        pid_t session = lost[event - 2 * nodes_.size()];
        add(Action::clone, session, pid_of(lost_[session].host));
        add(Action::set_session, session);
      } else if (event == born(event / 2)) {
        bear(nodes_[event / 2]);
        join_early(nodes_[event / 2]);
      } else if (nodes_[event / 2].leads()) {
        add(Action::set_session, pid_of(event / 2));
        nodes_[event / 2].group = pid_of(event / 2);
      }
    }
    return {};
  }

  void bear(Node& node) {
    if (node.birth == Birth::by_passing)
      node.birth_group = node.birth_session;
    else if (node.parent != kOutside)
      node.birth_group = nodes_[node.parent].group;
    node.group = node.birth_group;
    if (node.birth != Birth::by_passing) return add(Action::clone, node.member.pid, pid_of(node.parent));
    pid_t passing = --last_passing_;
    add(Action::clone, passing, node.birth_session);
    add(Action::clone, node.member.pid, passing);
    add(Action::end, passing, pid_of(node.parent));
  }

  // A group that is there already comes before its members' children: those who inherit it need not see it, as in a
  // PID namespace below.
  void join_early(Node& node) {
    pid_t group = node.member.group;
    if (node.leads() || group == node.birth_group) return;
    auto founder = by_pid_.find(group);
    if (founder == by_pid_.end()) return;
    const Node& other = nodes_[founder->second];
    if (other.leads() || other.member.session != node.birth_session || other.member.group != group) return;
    if (&other != &node && other.group != group) return;
    add(Action::set_group, node.member.pid, group);
    node.group = group;
  }

  Result<> make_groups() {
    std::map<pid_t, std::vector<size_t>> groups;
    for (size_t i = 0; i < nodes_.size(); ++i) groups[nodes_[i].member.group].push_back(i);
    std::vector<pid_t> passing;
    std::vector<size_t> gone_on;  // founders of a group who have joined another since
    for (auto& [group, joined] : groups) {
      pid_t session = nodes_[joined.front()].member.session;
      for (size_t index : joined)
        if (nodes_[index].member.session != session)
          return refuse(fmt::format("process group {} lies in two sessions", group));
      if (group == session) continue;  // made by setsid(2)
      auto founder = by_pid_.find(group);
      if (founder == by_pid_.end()) {
        add(Action::clone, group, pid_of(joined.front()));
        passing.push_back(group);
      } else if (nodes_[founder->second].member.session != session) {
        return refuse(fmt::format("process group {} is in another session than its founder", group));
      } else if (nodes_[founder->second].member.group != group) {
        gone_on.push_back(founder->second);
      }
      if (founder == by_pid_.end() || nodes_[founder->second].group != group) add(Action::set_group, group, group);
    }
    // So that the group does not end while nobody else has joined it yet.
    for (size_t founder : gone_on) {
      passing.push_back(--last_passing_);
      add(Action::clone, last_passing_, pid_of(founder));
    }
    for (const Node& node : nodes_) {
      bool left_its_own = node.member.group != node.member.pid && groups.contains(node.member.pid);
      pid_t now = node.leads() || left_its_own ? node.member.pid : node.group;
      if (node.member.group != node.member.pid && node.member.group != now)
        add(Action::set_group, node.member.pid, node.member.group);
    }
    for (pid_t who : passing) add(Action::end, who);
    return {};
  }

  std::vector<Node> nodes_;
  bool lost_were_below_;
  std::map<pid_t, size_t> by_pid_;
  std::map<pid_t, LostSession> lost_;
  pid_t last_passing_ = 0;
  std::vector<FamilyStep> steps_;
};

}  // namespace

Result<std::vector<FamilyStep>> plan_family(std::span<const FamilyMember> members) {
  auto make = [&](bool lost_were_below) -> Result<std::vector<FamilyStep>> {
    return share_at_birth(members, TRY(Plan(members, lost_were_below).make()));
  };
  auto plan = make(false);
  if (plan) return plan;
  auto other = make(true);
  return other ? std::move(other) : std::move(plan);
}

std::vector<pid_t> lost_leaders(std::span<const FamilyMember> members) {
  std::set<pid_t> pids, lost;
  for (const FamilyMember& member : members) pids.insert(member.pid);
  for (const FamilyMember& member : members)
    for (pid_t leader : {member.group, member.session})
      if (!pids.contains(leader)) lost.insert(leader);
  return {lost.begin(), lost.end()};
}

}  // namespace ks::engine
