// SPDX-License-Identifier: LGPL-2.1-or-later
// Verdicts in print.
#pragma once

#include <vector>

#include "upgrade/json.h"
#include "upgrade/steps/upgrade.h"

namespace ks::upgrade {

Json to_json(const std::vector<UnitVerdict>& verdicts);
// What can go on to standard output, with a line for each thing that will be otherwise then; a line each for what
// cannot to standard error.
void print(const std::vector<UnitVerdict>& verdicts);

}  // namespace ks::upgrade
