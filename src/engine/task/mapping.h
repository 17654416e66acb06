// SPDX-License-Identifier: LGPL-2.1-or-later
// Areas of memory, mapped in a process that is being restored.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "engine/context/restoring.h"
#include "engine/memory.pb.h"

namespace ks::engine {

// With what has to be said before anything is filled in, and with this protection: what may only be executed would be
// given a protection key.
uint32_t first_protection(const image::Area& area);
Result<> map_area(const Restoring& restoring, RemoteCalls& calls, const image::Area& area);
// All the rest: protection `now` turns into its own; name and advice.
Result<> dress_area(const Restoring& restoring, RestoredProcess& process, const image::Area& area, uint32_t now);

}  // namespace ks::engine
