// SPDX-License-Identifier: LGPL-2.1-or-later
// Memory, and signal handlers with it, that processes share without being threads of one another (clone(2), CLONE_VM
// and CLONE_SIGHAND). No process can be given another's later, nor have it lent: whoever shares it has to be cloned
// by one who has it. Pure.
#pragma once

#include <span>
#include <vector>

#include "base/result.h"
#include "engine/target/family.h"

namespace ks::engine {

// Changes a plan that leads to these members so that all but the first of those who share are cloned by another of
// them: by their parent, by a sibling (CLONE_PARENT), or by a passing process that one of them has cloned. Where none
// of them can, it is a refusal.
Result<std::vector<FamilyStep>> share_at_birth(std::span<const FamilyMember> members, std::vector<FamilyStep> plan);

}  // namespace ks::engine
