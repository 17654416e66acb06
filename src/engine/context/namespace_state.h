// SPDX-License-Identifier: LGPL-2.1-or-later
// What lives in a network or IPC namespace beyond what a new one has. Whoever makes the namespace anew makes a new
// one.
#pragma once

#include <set>
#include <string>

#include "base/result.h"

namespace ks::engine {

struct NetworkState {
  bool loopback_up = false;
  std::string surplus;  // the first thing that a new one would not have, or has otherwise; empty: nothing
};
Result<NetworkState> examine_network(int fd, int fresh);
Result<bool> loopback_is_up(int fd);
Result<> bring_loopback_up(int fd);

// The first object or changed limit in an IPC namespace; empty: none.
Result<std::string> surplus_of_ipc(int fd, int fresh);

// What one has and the other has not, by the one that is to be named; empty: they are alike.
std::string first_difference(const std::set<std::string>& has, const std::set<std::string>& expected);

}  // namespace ks::engine
