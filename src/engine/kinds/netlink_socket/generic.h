// SPDX-License-Identifier: LGPL-2.1-or-later
// Sockets of generic netlink. Each kernel numbers families and groups anew, and programs remember the numbers.
#pragma once

#include <string>

#include "base/result.h"
#include "engine/kernel/generic_netlink.h"
#include "engine/netlink_socket.pb.h"

namespace ks::engine::netlink_socket {

// Of a socket that may have asked the kernel for something; a refusal where a family may keep something of it. In
// `out` its groups are numbers, and names after it.
Result<> describe_generic(const GenericNumbers& numbers, image::NetlinkSocket& out);

// Whether a program that remembers the numbers of the one kernel is right about those of the other: none of them
// means another thing by now, and what it listens to is there. Of each group that it listens to, the number.
Result<std::vector<uint32_t>> groups_under(const GenericNumbers& numbers, const image::NetlinkSocket& socket);

// Families that it needs to be there.
void load_families(const image::NetlinkSocket& socket);

}  // namespace ks::engine::netlink_socket
