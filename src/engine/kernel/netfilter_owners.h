// SPDX-License-Identifier: LGPL-2.1-or-later
// What belongs to a netlink socket of netfilter, and ends with it: queues of packets, logs, and tables of nftables.
#pragma once

#include <cstdint>
#include <set>
#include <string_view>

#include "base/result.h"

namespace ks::engine {

// Of /proc/net/netfilter/nfnetlink_queue and nfnetlink_log, the second word of each line.
std::set<uint32_t> parse_owners(std::string_view text);

// The ports of sockets in our network namespace to which anything belongs.
Result<std::set<uint32_t>> netfilter_owners();

}  // namespace ks::engine
