// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <map>
#include <string>

#include "base/result.h"
#include "engine/image/envelope.h"
#include "engine/task/seed.h"

namespace ks::engine {

// A session keyring of their own, where the processes had one, as systemd would give it to the unit now. All inherit
// it from the seed. False: this process had none.
Result<bool> give_session_keyring(Seed& seed, RemoteAddress scratch, const std::map<std::string, Envelope>& rooms);

}  // namespace ks::engine
