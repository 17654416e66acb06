// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/task/sharing.h"

#include <fmt/format.h>
#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

namespace ks::engine {

namespace {

enum Order : long { kSame = 0, kLess = 1, kGreater = 2 };  // of kcmp(2); negative: one of them has ended

long compare(int type, pid_t one, pid_t other) { return ::syscall(SYS_kcmp, one, other, type, 0, 0); }

// The kernel's order puts those that share next to each other.
std::vector<pid_t> in_order(const Dumping& dumping, int type) {
  std::vector<pid_t> pids;
  for (const auto& process : dumping.processes)
    if (!process.zombie) pids.push_back(process.pid);
  std::ranges::sort(pids, [=](pid_t one, pid_t other) { return compare(type, one, other) == kLess; });
  return pids;
}

std::vector<std::set<pid_t>> sharers(const std::vector<pid_t>& ordered, int type) {
  std::vector<std::set<pid_t>> sets;
  bool goes_on = false;
  for (size_t i = 1; i < ordered.size(); ++i) {
    bool shares = compare(type, ordered[i - 1], ordered[i]) == kSame;
    if (shares && !goes_on) sets.push_back({ordered[i - 1]});
    if (shares) sets.back().insert(ordered[i]);
    goes_on = shares;
  }
  return sets;
}

// One of those who share with `other`, or 0.
pid_t find_sharer(std::span<const pid_t> ordered, int type, pid_t other) {
  while (!ordered.empty()) {
    size_t middle = ordered.size() / 2;
    switch (compare(type, ordered[middle], other)) {
      case kSame:
        return ordered[middle];
      case kLess:
        ordered = ordered.subspan(middle + 1);
        break;
      case kGreater:
        ordered = ordered.first(middle);
        break;
      default:
        return 0;
    }
  }
  return 0;
}

std::map<pid_t, pid_t> first_of(const Dumping& dumping, const std::vector<std::set<pid_t>>& sets) {
  std::map<pid_t, pid_t> first;
  for (const auto& members : sets) {
    auto process =
        std::ranges::find_if(dumping.processes, [&](const StoppedProcess& one) { return members.contains(one.pid); });
    for (pid_t pid : members) first[pid] = process->pid;
  }
  return first;
}

}  // namespace

Result<> find_sharing(Dumping& dumping) {
  auto others = TRY(dumping.outside.others());
  auto find = [&](int type, const char* what) {
    auto ordered = in_order(dumping, type);
    // Who shares handlers shares memory too.
    if (type != KCMP_SIGHAND)
      for (pid_t other : others)
        if (pid_t pid = find_sharer(ordered, type, other))
          dumping.refuse(pid, "process", fmt::format("shares {} with pid {}, which is not part of it", what, other));
    return sharers(ordered, type);
  };
  dumping.memory_of = first_of(dumping, find(KCMP_VM, "memory"));
  dumping.handlers_of = first_of(dumping, find(KCMP_SIGHAND, "signal handlers"));
  dumping.sharing_descriptors = find(KCMP_FILES, "its descriptor table");
  dumping.sharing_directories = find(KCMP_FS, "its working directory");
  return {};
}

}  // namespace ks::engine
