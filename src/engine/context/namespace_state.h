// SPDX-License-Identifier: LGPL-2.1-or-later
// What lives in a network or IPC namespace beyond what a new one has. Whoever makes the namespace anew makes a new
// one.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace ks::engine {

struct NetworkState {
  bool loopback_up = false;
  bool loopback_assigned = false;  // its addresses had been assigned before it was brought up
  std::string surplus;             // the first thing that a new one would not have, or has otherwise; empty: nothing
};
Result<NetworkState> examine_network(int fd, const std::function<Result<Fd>()>& make_fresh);
Result<bool> loopback_is_up(int fd);
Result<> bring_loopback_up(int fd, bool assigned);

// POSIX message queues that have a name, of the IPC namespace that the calling thread is in.
struct NamedQueue {
  std::string name;  // without a slash
  uid_t uid = 0;
  int64_t used = 0;  // last, seconds since 1970
};
Result<std::vector<NamedQueue>> list_message_queues();

// The first changed limit in an IPC namespace; empty: none.
Result<std::string> surplus_of_ipc(int fd, int fresh);

// What one has and the other has not, by the one that is to be named; empty: they are alike.
std::string first_difference(const std::set<std::string>& has, const std::set<std::string>& expected);

}  // namespace ks::engine
