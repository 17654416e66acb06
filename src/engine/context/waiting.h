// SPDX-License-Identifier: LGPL-2.1-or-later
// Where a target that runs waits for others.
#pragma once

#include <sys/types.h>

#include <optional>
#include <span>
#include <string>

#include "base/result.h"
#include "engine/context/verdict.h"

namespace ks::engine {

// Whether one of them has a socket among its first descriptors, without a look at all of what may be thousands.
bool show_sockets(std::span<const pid_t> pids);
bool have_rings(std::span<const pid_t> pids);  // of io_uring(7)
// In our network namespace alone. Of all three, processes that end meanwhile are passed over.
Result<WaitingSockets> find_waiting(std::span<const pid_t> pids);

// All of IPv4 at its port, if the socket is bound to no address of IPv6 and so is there for both (IPV6_V6ONLY).
Result<std::optional<std::string>> address_for_ipv4(int fd, const std::string& local);

}  // namespace ks::engine
