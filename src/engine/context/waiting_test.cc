// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/waiting.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "base/fd.h"

namespace ks::engine {
namespace {

// Bound to no address; its port.
in_port_t bind_to_any(const Fd& fd, int family) {
  sockaddr_in6 address{.sin6_family = static_cast<sa_family_t>(family)};
  socklen_t length = family == AF_INET6 ? sizeof address : sizeof(sockaddr_in);
  auto* bound = reinterpret_cast<sockaddr*>(&address);
  EXPECT_EQ(::bind(fd.get(), bound, length), 0);
  EXPECT_EQ(::getsockname(fd.get(), bound, &length), 0);
  return address.sin6_port;  // in both families at the same place
}

// The families over which somebody may come to a port.
std::vector<int> families(const WaitingSockets& waiting, int protocol, in_port_t port) {
  std::vector<int> found;
  for (const NetworkSocket& socket : waiting.sockets) {
    auto* local = reinterpret_cast<const sockaddr_in*>(socket.local.data());
    if (socket.protocol == protocol && local->sin_port == port) found.push_back(local->sin_family);
  }
  std::ranges::sort(found);
  return found;
}

TEST(WaitingSockets, OfBothFamiliesWaitForBoth) {
  Fd both(::socket(AF_INET6, SOCK_STREAM, 0)), only(::socket(AF_INET6, SOCK_STREAM, 0)),
      four(::socket(AF_INET, SOCK_STREAM, 0)), datagrams(::socket(AF_INET6, SOCK_DGRAM, 0));
  if (!both) GTEST_SKIP() << "no IPv6";
  int yes = 1, no = 0;
  ASSERT_EQ(::setsockopt(only.get(), SOL_IPV6, IPV6_V6ONLY, &yes, sizeof yes), 0);
  for (const Fd* fd : {&both, &datagrams})
    ASSERT_EQ(::setsockopt(fd->get(), SOL_IPV6, IPV6_V6ONLY, &no, sizeof no), 0);
  in_port_t at_both = bind_to_any(both, AF_INET6), at_only = bind_to_any(only, AF_INET6),
            at_four = bind_to_any(four, AF_INET), at_datagrams = bind_to_any(datagrams, AF_INET6);
  for (const Fd* fd : {&both, &only, &four}) ASSERT_EQ(::listen(fd->get(), 1), 0);
  pid_t self = ::getpid();
  auto waiting = find_waiting(std::span(&self, 1));
  ASSERT_TRUE(waiting) << waiting.error().what;
  EXPECT_EQ(families(*waiting, IPPROTO_TCP, at_both), (std::vector{AF_INET, AF_INET6}));
  EXPECT_EQ(families(*waiting, IPPROTO_TCP, at_only), std::vector{AF_INET6});
  EXPECT_EQ(families(*waiting, IPPROTO_TCP, at_four), std::vector{AF_INET});
  EXPECT_EQ(families(*waiting, IPPROTO_UDP, at_datagrams), (std::vector{AF_INET, AF_INET6}));
}

}  // namespace
}  // namespace ks::engine
