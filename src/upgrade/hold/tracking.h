// SPDX-License-Identifier: LGPL-2.1-or-later
// The kernel's connection tracking, which firewalls ask whether a packet belongs to a connection that they have let
// pass.
#pragma once

#include <span>
#include <string>

#include "base/result.h"

struct nl_sock;

namespace ks::upgrade {

// Connections of before are new to another kernel, and not every firewall lets one begin in its midst.
class Tracking {
 public:
  // Nothing is tracked where nobody has asked the kernel for it: then add() does nothing.
  static Result<Tracking> open();
  Tracking(Tracking&& other) noexcept;
  Tracking& operator=(Tracking&&) = delete;
  ~Tracking();

  // The connections among these lines (see held_socket.h), as established ones. One that is known is no error.
  Result<> add(std::span<const std::string> lines) const;

 private:
  explicit Tracking(nl_sock* socket) : socket_(socket) {}
  nl_sock* socket_;
};

}  // namespace ks::upgrade
