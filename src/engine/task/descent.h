// SPDX-License-Identifier: LGPL-2.1-or-later
// Who descends from whom: the tree of processes, with their sessions and groups, and those of them that have
// ended.
#pragma once

#include <deque>
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

// Fills in the processes and zombies of `tree`, and refuses a tree that could not be made again.
Result<> describe_family(Dumping& dumping, image::Tree& tree);

// The PIDs that a tree needs, without those of threads.
std::set<pid_t> pids_of(const image::Tree& tree);

// Makes one process for each of `tree`, in its order, under its parent, in its session and group, and the
// zombies. Those without a parent become orphans when the seed ends. `taken` are PIDs that are not to be used
// in passing.
Result<> clone_family(std::deque<RestoredProcess>& processes, const image::Tree& tree, Seed& seed,
                      const Parking& parking, const std::set<pid_t>& taken);

}  // namespace ks::engine
