// SPDX-License-Identifier: LGPL-2.1-or-later
// Multicast groups that sockets have joined, and from whom they want to hear there (ip(7), RFC 3678).
#pragma once

#include <sys/socket.h>

#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/inet_socket.pb.h"

namespace ks::engine::inet_socket {

// Groups that this machine has joined, as /proc/net/igmp and igmp6 tell of them by interface. Which of them are a
// socket's, only the socket can tell, asked for each.
class MulticastGroups {
 public:
  struct Group {
    uint32_t interface = 0;
    sockaddr_storage address{};
  };
  static std::vector<Group> parse(int family, std::string_view text);
  static Result<MulticastGroups> read();
  // Of the groups of one family.
  Result<> read_memberships(int fd, int family, image::InetSocket& out) const;

 private:
  std::vector<Group> four_, six_;
};

Result<> join(int fd, const image::InetSocket::Membership& membership);

}  // namespace ks::engine::inet_socket
