// SPDX-License-Identifier: LGPL-2.1-or-later
// What the parts of this room have in common.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"
#include "engine/context/restoring.h"
#include "engine/image/envelope.h"

namespace ks::engine::io_uring {

inline constexpr std::string_view kName = "io_uring";
inline constexpr uint32_t kVersion = 1;

// The flags with which one is made that is like another. IORING_SETUP_ATTACH_WQ means nothing where the kernel has no
// thread for the ring.
uint32_t new_setup(uint32_t setup);

Result<Fds> make(Restoring& restoring, std::span<const Envelope> envelopes);
Result<> connect(Restoring& restoring, std::span<const Envelope> envelopes);

// A ring that has been made, by the id of its open file.
struct MadeRing {
  Fd ours;
  pid_t maker = 0;
  uint64_t number = 0;  // of its descriptor there
};
using MadeRings = std::map<uint32_t, MadeRing>;

// Maps the rings where they lay, in every process that had them in its memory. Since 6.4 the kernel lets nobody
// choose the place.
Result<> map_rings(Restoring& restoring, const MadeRings& rings);

}  // namespace ks::engine::io_uring
