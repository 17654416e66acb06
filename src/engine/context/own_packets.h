// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <cstdint>

namespace ks::engine {

// The mark (SO_MARK) of packets that the engine sends over the loopback interface to connections that it is making,
// in the name of their peers. Who holds back what these send has to let such packets pass there.
inline constexpr uint32_t kOwnPackets = 0x6b737061;

}  // namespace ks::engine
