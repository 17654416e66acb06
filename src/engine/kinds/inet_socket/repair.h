// SPDX-License-Identifier: LGPL-2.1-or-later
// TCP connections under repair: their sequence numbers, windows and queues can be read and set, nothing of it is
// sent, and one that is closed so says no word to its peer (TCP_REPAIR: linux/tcp.h, net/ipv4/tcp.c).
#pragma once

#include <sys/types.h>

#include <span>

#include "base/fd.h"
#include "base/result.h"

namespace ks::engine::inet_socket {

Result<> enter_repair(int fd);
// Without a word, for its peer has not noticed; SO_REUSEADDR, which repair takes away, as it was.
Result<> leave_repair(int fd, bool reuse);

// Sockets of a service stay under repair if we are killed meanwhile. A small process sees to it that they do not.
class RepairGuard {
 public:
  struct Charge {
    int fd = -1;
    bool reuse = false;
  };
  RepairGuard() = default;
  RepairGuard(const RepairGuard&) = delete;
  ~RepairGuard();  // takes all out of repair, unless it is dismissed before
  Result<> start(std::span<const Charge> charges);
  // All are out of repair, or to stay there.
  void dismiss();

 private:
  pid_t pid_ = 0;
  Fd orders_;
};

}  // namespace ks::engine::inet_socket
