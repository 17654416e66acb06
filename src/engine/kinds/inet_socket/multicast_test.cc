// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kinds/inet_socket/multicast.h"

#include <gtest/gtest.h>
#include <netinet/in.h>

#include "engine/kernel/socket.h"
#include "engine/kinds/inet_socket/address.h"

namespace ks::engine::inet_socket {
namespace {

constexpr char kFour[] =
    "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n"
    "1\tlo        :     1      V3\n"
    "\t\t\t\t010000E0     1 0:00000000\t\t0\n"
    "12\teth0      :     2      V3\n"
    "\t\t\t\tFB0000E0     1 0:00000000\t\t0\n"
    "\t\t\t\tz00000E0     1 0:00000000\t\t0\n";
constexpr char kSix[] =
    "1    lo              ff020000000000000000000000000001     1 0000000C 0\n"
    "2    eth0            ff02000000000000000000000000fb     1 0000000C 0\n"
    "2    eth0            ff0200000000000000000000000000fb     1 0000000C 0\n";

std::string text_of(const MulticastGroups::Group& group) {
  return std::to_string(group.interface) + " " + address_text(bytes_of(group.address));
}

TEST(MulticastGroups, AreReadByInterface) {
  auto four = MulticastGroups::parse(AF_INET, kFour);
  ASSERT_EQ(four.size(), 2u);
  EXPECT_EQ(text_of(four[0]), "1 224.0.0.1:0");
  EXPECT_EQ(text_of(four[1]), "12 224.0.0.251:0");
  auto six = MulticastGroups::parse(AF_INET6, kSix);
  ASSERT_EQ(six.size(), 2u);
  EXPECT_EQ(text_of(six[0]), "1 [ff02::1]:0");
  EXPECT_EQ(text_of(six[1]), "2 [ff02::fb]:0");
}

TEST(MulticastGroups, AreThoseOfTheSocketAlone) {
  Fd joined(::socket(AF_INET, SOCK_DGRAM, 0)), stranger(::socket(AF_INET, SOCK_DGRAM, 0));
  image::InetSocket::Membership membership;
  membership.set_group(bytes_of(sockaddr_in{.sin_family = AF_INET, .sin_addr = {htonl(0xe8000105)}}));
  membership.set_interface("lo");
  membership.set_only_from_sources(true);
  for (uint32_t source : {0x7f000001u, 0x7f000002u})
    membership.add_sources(bytes_of(sockaddr_in{.sin_family = AF_INET, .sin_addr = {htonl(source)}}));
  auto done = join(joined.get(), membership);
  if (!done && done.error().code == ENODEV) GTEST_SKIP() << done.error().what;
  ASSERT_TRUE(done) << done.error().what;
  auto groups = MulticastGroups::read();
  ASSERT_TRUE(groups) << groups.error().what;
  image::InetSocket mine, other;
  ASSERT_TRUE(groups->read_memberships(joined.get(), AF_INET, mine));
  ASSERT_TRUE(groups->read_memberships(stranger.get(), AF_INET, other));
  EXPECT_EQ(other.memberships_size(), 0);
  ASSERT_EQ(mine.memberships_size(), 1);
  EXPECT_EQ(mine.memberships(0).SerializeAsString(), membership.SerializeAsString());
}

}  // namespace
}  // namespace ks::engine::inet_socket
