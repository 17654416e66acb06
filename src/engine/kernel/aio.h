// SPDX-License-Identifier: LGPL-2.1-or-later
// Contexts of asynchronous I/O (io_setup(2)). The kernel shows them nowhere; they are read where they lie.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

#include "base/result.h"

namespace ks::engine {

struct AioContext {
  uint64_t ring = 0;      // address in the process, which is also its id
  uint32_t requests = 0;  // that were asked for
  uint32_t slots = 0;     // of the ring
  uint32_t tail = 0;      // where the next event goes
  uint64_t in_flight = 0;
};

// Those of a process. With its threads stopped, a request that is not in flight has left all that it ever will: its
// event, and what it signals.
Result<std::vector<AioContext>> aio_contexts_of(pid_t pid);

// What lies at the start of a ring, for the C library too (fs/aio.c); struct io_event follows for each slot.
struct AioRingHeader {
  static constexpr uint32_t kMagic = 0xa10a10a1;
  uint32_t id, slots, head, tail;
  uint32_t magic, compatible, incompatible, bytes;
};
static_assert(sizeof(AioRingHeader) == 32);

}  // namespace ks::engine
