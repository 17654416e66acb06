// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/socket.h"

#include <gtest/gtest.h>

namespace ks::engine {
namespace {

constexpr char kTcp[] =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    "   0: 0F02000A:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000   104        0 9714 1 0 100 0 0 10 0\n"
    "   1: 0F02000A:9C40 0202000A:0050 02 00000001:00000000 01:00000010 00000000     0        0 9715 2 0 200 4 0 10 1\n"
    "   2: 0F02000A:9C41 0202000A:0051 06 00000000:00000000 03:00000010 00000000     0        0 0 3 0\n"
    "   3: 0F02000A:9C42 zz 02 0:0 0:0 0 0 0 9716\n";
constexpr char kTcp6[] =
    "   0: 73B600FD000000000000000015000000:1B58 73B600FD000000000000000002000000:A3E4 02 00000001:00000000 "
    "01:00000010 00000000     0        0 77 2 0 200 4 0 10 1\n";

TEST(TcpPeer, IsFoundByInode) {
  EXPECT_EQ(address_text(parse_tcp_peer(kTcp, 9715).value_or("")), "10.0.2.2:80");
  EXPECT_EQ(address_text(parse_tcp_peer(kTcp6, 77).value_or("")), "[fd00:b673::2]:41956");
}

TEST(TcpPeer, NothingIsMadeUp) {
  for (uint64_t inode : {1, 9716}) EXPECT_FALSE(parse_tcp_peer(kTcp, inode)) << inode;
  EXPECT_FALSE(parse_tcp_peer("", 9715));
  EXPECT_FALSE(parse_tcp_peer("0: 0202000A:1 0202000A0000:1 02 0:0 0:0 0 0 0 5\n", 5));
}

}  // namespace
}  // namespace ks::engine
