// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <map>
#include <string>

#include "base/result.h"
#include "engine/context/restoring.h"

namespace ks::engine {

// Whether the process with these rooms is to be confined; others need no preparation.
bool is_confined(const std::map<std::string, Envelope>& rooms);

// Opens what the processes need for it, and keep when the engine's other descriptors are gone from them.
Result<> prepare_to_confine(Restoring& restoring);

}  // namespace ks::engine
