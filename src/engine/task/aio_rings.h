// SPDX-License-Identifier: LGPL-2.1-or-later
// Contexts of asynchronous I/O (io_setup(2)), each of which is a ring of events in a process's memory. The C library
// takes events from it without a call, so all that it reads there comes back: where the ring begins and ends, and
// what has not been taken. The kernel's own notion of it follows from what has been done with a ring; so a new one is
// moved to the old place, and requests for nothing are made until it is where the old one was.
#pragma once

#include <cstdint>
#include <optional>

#include "base/result.h"
#include "engine/context/dumping.h"
#include "engine/context/restoring.h"
#include "engine/memory.pb.h"

namespace ks::engine {

bool is_aio_ring(const Vma& area);

// Waits a little for requests that are in flight. Fills in `dumping.aio_contexts`.
Result<> survey_aio(Dumping& dumping);
Result<> describe_ring(const Dumping& dumping, const StoppedProcess& process, const Vma& area, image::Area& out);

// With its content, where nothing is mapped yet.
Result<> restore_ring(RestoredProcess& process, const image::Area& area);

// What brings a new ring to where another one was: events, of which the first ones are taken at once.
struct RingPlan {
  uint32_t taken = 0, left = 0;
  bool operator==(const RingPlan&) const = default;
};
// Nothing: there is no such ring.
std::optional<RingPlan> plan_ring(uint32_t slots, uint32_t head, uint32_t tail);

// The least number of requests for which a kernel makes a ring of so many bytes, were it not for its CPUs.
uint32_t requests_for(uint64_t bytes);

}  // namespace ks::engine
