// SPDX-License-Identifier: LGPL-2.1-or-later
// Packets that seem to come from somebody else.
#pragma once

#include <cstdint>
#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace ks::engine::inet_socket {

class Forger {
 public:
  static Result<Forger> make();

  // By the loopback interface, whatever the addresses are: to which route a raw socket gives a packet, and what
  // stands in that, are two things. `body` begins with the header of its protocol, whose sum is filled in where it
  // has its place.
  Result<> send(const std::string& from, const std::string& to, uint8_t protocol, std::string body,
                size_t sum_at) const;

 private:
  Result<> send4(const std::string& from, const std::string& to, uint8_t protocol, std::string body,
                 size_t sum_at) const;
  Result<> send6(const std::string& from, const std::string& to, uint8_t protocol, std::string body,
                 size_t sum_at) const;

  Fd four_, six_;
};

}  // namespace ks::engine::inet_socket
