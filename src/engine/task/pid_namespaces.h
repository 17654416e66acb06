// SPDX-License-Identifier: LGPL-2.1-or-later
// PID namespaces that processes have made for themselves. One cannot be made and held like other namespaces: it
// begins with its first process and ends with it. So they come with the tree of processes.
#pragma once

#include <span>

#include "base/result.h"
#include "engine/context/dumping.h"
#include "engine/context/restoring.h"
#include "engine/target/family.h"
#include "engine/tree.pb.h"

namespace ks::engine {

// Fills in `dumping.nested`. Refuses namespaces of which nobody could make the first process again.
Result<> survey_pid_namespaces(Dumping& dumping);
// Fills in what `tree` tells of them, and refuses what the plan that it follows from would not bring about.
Result<> describe_pid_namespaces(Dumping& dumping, image::Tree& tree, std::span<const FamilyStep> plan);

Result<NestedPids> nested_pids(const image::Tree& tree);

// The next child of the caller comes into the namespace of which `first` is the first process, as the caller knows
// it; where that is 0, into one that it founds.
Result<> direct_children(RemoteCalls& calls, pid_t first);

// When all processes and threads are there.
Result<> settle_pid_namespaces(const image::Tree& tree);

}  // namespace ks::engine
