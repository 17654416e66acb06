// SPDX-License-Identifier: LGPL-2.1-or-later
// The controlling terminals of sessions. A process has the one of its session because it has inherited it (or has
// given it up since), so a session's leader gets it before it has children.
#pragma once

#include "base/result.h"
#include "engine/context/dumping.h"
#include "engine/context/restoring.h"
#include "engine/tree.pb.h"

namespace ks::engine {

// Fills in terminals and foreground groups of `tree`, and refuses those that could not be had again.
void describe_terminals(Dumping& dumping, image::Tree& tree);

// In a leader that has just opened its session, with the engine's descriptors.
Result<> take_terminal(const Restoring& restoring, const image::Tree::Process& leader, RemoteCalls& calls);
// When all processes and groups are there.
Result<> settle_terminals(const Restoring& restoring, const image::Tree& tree);

}  // namespace ks::engine
