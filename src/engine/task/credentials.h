// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.h"
#include "engine/context/restoring.h"

namespace ks::engine {

// Users and groups that it is to have, by one who may take any. The capabilities stay.
Result<> take_ids(RestoredProcess& process);

}  // namespace ks::engine
