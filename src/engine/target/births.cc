// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/target/births.h"

namespace ks::engine {

Inside Births::inside(pid_t who) const {
  auto found = inside_.find(who);
  return found == inside_.end() ? Inside{} : found->second;
}

pid_t Births::direction(pid_t who) const {
  auto found = direction_.find(who);
  return found == direction_.end() ? pids_.home(who) : found->second;
}

Result<Birth> Births::next(pid_t who, pid_t by) {
  using Way = NestedPids::Way;
  Birth birth{.way = who < 0 ? Way::inherited : pids_.way(who, by)};
  pid_t home = who < 0 ? pids_.home(by) : pids_.home(who);
  if (birth.way == Way::none || (birth.way == Way::joined && !born_.contains(home)))
    return refuse("cannot be entered again from where its parent is now; that is not supported");
  const Inside of_maker = inside(by);
  Inside its = of_maker;
  if (birth.way == Way::founded && pids_.owner(who) != its.user) {
    if (!users_.covers(its.user, pids_.owner(who)))
      return refuse("belongs to a user namespace that is not below that of its maker; that is not supported");
    birth.by_envoy = true;
    its = {.user = pids_.owner(who), .founder = its.user ? its.founder : who};
  }
  if (of_maker.user) {
    pid_t own = pids_.home(by), now = direction(by);
    if (birth.way == Way::joined) {
      if (now != home)
        return refuse("cannot be entered twice by one who is in a user namespace; that is not supported yet");
    } else {
      birth.turns_home = now != own;
      direction_[by] = birth.way == Way::founded && !birth.by_envoy ? who : own;
    }
  }
  if (who > 0 && users_.knows(who) && !users_.covers(its.user, users_.of(who)))
    return refuse("belongs to a user namespace that this process is not in; that is not supported");
  born_.insert(who);
  if (its.user) inside_[who] = its;
  return birth;
}

Result<bool> Births::turn(pid_t who, pid_t first) const {
  if (!first) first = pids_.home(who);
  if (direction(who) == first) return false;
  if (first != pids_.home(who))
    return refuse(
        "is to be one for its children that it could not enter, in a user namespace; that is not supported yet");
  return true;
}

}  // namespace ks::engine
