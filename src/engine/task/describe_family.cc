// SPDX-License-Identifier: LGPL-2.1-or-later
// The dump's half of descent.h.
#include <fmt/format.h>
#include <sys/wait.h>

#include <algorithm>
#include <functional>

#include "base/file.h"
#include "base/text.h"
#include "engine/task/controlling_terminal.h"
#include "engine/task/descent.h"
#include "engine/task/pid_namespaces.h"

namespace ks::engine {

namespace {

constexpr int kDumpedCore = 0x80;  // of a status, as WCOREDUMP has it

void describe(const StoppedProcess& process, image::Tree::Process& out) {
  out.set_pid(process.pid);
  out.set_parent(process.stat.ppid);
  out.set_group(process.stat.pgrp);
  out.set_session(process.stat.session);
  out.set_exit_signal(process.stat.exit_signal);
}

void describe_zombie(const StoppedProcess& process, image::Tree::Zombie& out) {
  describe(process, *out.mutable_process());
  out.set_exit_code(process.stat.exit_code);
  out.set_comm(process.stat.comm);
  for (size_t i = 0; i < 3; ++i) {
    out.add_uids(process.status.uids[i]);
    out.add_gids(process.status.gids[i]);
  }
}

pid_t find_or_none(const std::map<pid_t, pid_t>& map, pid_t pid) {
  auto found = map.find(pid);
  return found == map.end() ? 0 : found->second;
}

void describe_members(const Dumping& dumping, image::Tree& tree) {
  for (const auto& process : dumping.processes) {
    if (process.zombie)
      describe_zombie(process, *tree.add_zombies());
    else
      describe(process, *tree.add_processes());
  }
  for (auto& process : *tree.mutable_processes()) {
    process.set_memory_of(find_or_none(dumping.memory_of, process.pid()));
    process.set_handlers_of(find_or_none(dumping.handlers_of, process.pid()));
  }
}

// A session or group keeps the PID of its leader from being given to another, so as long as somebody else
// belongs to it, nobody can open it again.
Result<> check_lost_leaders(Dumping& dumping, const std::vector<pid_t>& lost) {
  if (lost.empty()) return {};
  std::set<pid_t> inside;
  for (const auto& process : dumping.processes) inside.insert(process.pid);
  for (const auto& name : TRY(list_directory("/proc"))) {
    auto pid = parse_number<pid_t>(name);
    if (!pid || inside.contains(*pid)) continue;
    auto text = read_file(proc_path(*pid, "stat"));
    if (!text) continue;  // ended meanwhile
    auto stat = TRY(parse_stat(*text));
    for (auto [leader, what] : {std::pair(stat.session, "session"), std::pair(stat.pgrp, "process group")})
      if (std::ranges::binary_search(lost, leader))
        dumping.refuse(0, fmt::format("{} {}", what, leader), fmt::format("is shared with pid {}", *pid));
  }
  return {};
}

// One who has to have a shared table for a while, to clone several who share it, from the first such step to the
// last.
struct Loan {
  pid_t lender = 0;
  size_t begin = 0, end = 0;
};

// They are shared by being cloned with the flag for it. So all but one are cloned by another of them, or by one who
// has it for a while: who shares none for good, and lends one after the other.
void describe_shared(Dumping& dumping, image::Tree& tree, const std::vector<FamilyStep>& plan,
                     const std::vector<std::set<pid_t>>& sets, void (image::Tree::Process::*set)(int32_t),
                     const char* what) {
  std::vector<Loan> loans;
  auto may_lend = [&](const Loan& loan) {
    return std::ranges::none_of(sets, [&](const auto& members) { return members.contains(loan.lender); }) &&
           std::ranges::none_of(loans, [&](const Loan& other) {
             return other.lender == loan.lender && other.begin <= loan.end && loan.begin <= other.end;
           });
  };
  for (const auto& members : sets) {
    pid_t first = 0;
    Loan loan;
    std::vector<pid_t> sharers;
    for (size_t i = 0; i < plan.size(); ++i) {
      const FamilyStep& step = plan[i];
      if (step.action != FamilyStep::Action::clone || !members.contains(step.who)) continue;
      if (!first) {
        first = step.who;
        loan = {.lender = step.other, .begin = i, .end = i};
        continue;
      }
      sharers.push_back(step.who);
      if (members.contains(step.other)) continue;
      if (step.other == loan.lender)
        loan.end = i;
      else
        dumping.refuse(step.who, "process",
                       fmt::format("shares {} with pid {}, but is cloned by another one; that is not supported yet",
                                   what, first));
    }
    if (loan.end > loan.begin) {
      if (!may_lend(loan))
        dumping.refuse(first, "process",
                       fmt::format("shares {} with others, but not with its parent, which shares it with yet others; "
                                   "that is not supported yet",
                                   what));
      loans.push_back(loan);
      sharers.push_back(first);
    }
    for (pid_t who : sharers)
      std::invoke(set, *std::ranges::find(*tree.mutable_processes(), who, &image::Tree::Process::pid), first);
  }
}

Result<> describe_sharing(Dumping& dumping, image::Tree& tree, const std::vector<FamilyStep>& plan) {
  describe_shared(dumping, tree, plan, dumping.sharing_descriptors, &image::Tree::Process::set_descriptors_of,
                  "its descriptor table");
  describe_shared(dumping, tree, plan, dumping.sharing_directories, &image::Tree::Process::set_directories_of,
                  "its working directory");
  std::string own = TRY(read_link("/proc/self/ns/user"));
  for (const auto& members : dumping.sharing_directories)
    for (pid_t pid : members)
      if (TRY(read_link(proc_path(pid, "ns/user"))) != own)
        dumping.refuse(pid, "process",
                       "shares its working directory, in a user namespace; that is not supported yet");
  return {};
}

}  // namespace

std::vector<FamilyMember> family_of(const std::vector<StoppedProcess>& processes) {
  std::vector<FamilyMember> members;
  members.reserve(processes.size());
  for (const auto& process : processes)
    members.push_back({.pid = process.pid,
                       .parent = process.stat.ppid,
                       .group = process.stat.pgrp,
                       .session = process.stat.session});
  return members;
}

std::vector<FamilyMember> family_of(const Dumping& dumping) {
  image::Tree tree;
  describe_members(dumping, tree);
  return family_of(tree);
}

Result<> describe_family(Dumping& dumping, image::Tree& tree) {
  describe_members(dumping, tree);
  for (const auto& process : dumping.processes)
    if (process.zombie && process.stat.exit_code & kDumpedCore)
      dumping.refuse(process.pid, "zombie",
                     "has left a core dump, which its parent has not heard of yet; that is not supported");
  describe_terminals(dumping, tree);
  auto members = family_of(tree);
  if (auto plan = plan_family(members)) {
    TRY(describe_sharing(dumping, tree, *plan));
    TRY(describe_pid_namespaces(dumping, tree, *plan));
  } else {
    dumping.refuse(0, "process tree", plan.error().what);
  }
  auto lost = lost_leaders(members);
  if (std::ranges::binary_search(lost, 0))
    dumping.refuse(0, "process tree", "a session or process group lies outside this PID namespace");
  return check_lost_leaders(dumping, lost);
}

}  // namespace ks::engine
