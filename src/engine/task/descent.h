// SPDX-License-Identifier: LGPL-2.1-or-later
// Who descends from whom: the tree of processes, with their sessions and groups, and those of them that have
// ended.
#pragma once

#include <deque>
#include <functional>
#include <set>
#include <vector>

#include "base/result.h"
#include "engine/context/dumping.h"
#include "engine/context/restoring.h"
#include "engine/target/family.h"
#include "engine/task/seed.h"
#include "engine/tree.pb.h"

namespace ks::engine {

std::vector<FamilyMember> family_of(const std::vector<StoppedProcess>& processes);
// The living first, then the zombies; with what they share.
std::vector<FamilyMember> family_of(const image::Tree& tree);
std::vector<FamilyMember> family_of(const Dumping& dumping);

// Fills in the processes and zombies of `tree`, and refuses a tree that could not be made again.
Result<> describe_family(Dumping& dumping, image::Tree& tree);

// The PIDs that a tree needs, without those of threads.
std::set<pid_t> pids_of(const image::Tree& tree);

// Who clones whom, in the order of cloning; 0: the seed. Of processes in passing, who has cloned those counts. The
// first one of the tree stands for all that have the same memory.
struct Cloner {
  pid_t pid = 0, by = 0;
};
Result<std::vector<Cloner>> cloners_of(const image::Tree& tree);

// Makes one process for each of `tree`, in its order, under its parent, in its session and group, and the
// zombies. Those without a parent become orphans when the seed ends. `taken` are PIDs that are not to be used
// in passing. `at_birth` comes for the seed (0) and for each process before it clones others.
using AtBirth = std::function<Result<>(const Cloner&, RemoteCalls&, const RemoteMemory&)>;
// `disguise` gives a process in passing the namespaces of another one, whose PID it has there, and its users and
// groups.
using Disguise = std::function<Result<>(RestoredProcess&)>;
Result<> clone_family(std::deque<RestoredProcess>& processes, const image::Tree& tree, Seed& seed,
                      Restoring& restoring, const std::set<pid_t>& taken, const AtBirth& at_birth,
                      const Disguise& disguise);

}  // namespace ks::engine
