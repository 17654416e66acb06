// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/socket_table.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "engine/kernel/socket.h"

namespace ks::engine {
namespace {

constexpr char kTcp[] =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    "   0: 0F02000A:18EB 00000000:0000 0A 00000000:0000000B 00:00000000 00000000   104        0 9714 1 0 100 0 0 10 "
    "0\n"
    "   1: 0F02000A:9C40 0202000A:0050 02 00000001:00000000 01:00000010 00000000     0        0 9715 2 0 200 4 0 10 "
    "1\n"
    "   2: 0F02000A:9C41 0202000A:0051 06 00000000:00000000 03:00000010 00000000     0        0 0 3 0\n"
    "   3: 0F02000A:9C42 zz 02 0:0 0:0 0 0 0 9716\n"
    "   4: 0F02000A:9C42 0202000A0000:1 02 0:0 0:0 0 0 0 9717\n";
constexpr char kTcp6[] =
    "   0: 73B600FD000000000000000015000000:1B58 73B600FD000000000000000002000000:A3E4 02 00000001:00000000 "
    "01:00000010 00000000     0        0 77 2 0 200 4 0 10 1\n";

TEST(SocketTable, TellsOfSockets) {
  auto entries = parse_socket_table(kTcp);
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_EQ(entries[0].state, TCP_LISTEN);
  EXPECT_EQ(entries[0].unread, 11u);
  EXPECT_EQ(entries[0].inode, 9714u);
  EXPECT_EQ(address_text(entries[0].local), "10.0.2.15:6379");
  EXPECT_EQ(entries[1].state, TCP_SYN_SENT);
  EXPECT_EQ(address_text(entries[1].peer), "10.0.2.2:80");
  EXPECT_EQ(entries[2].inode, 0u);
}

TEST(SocketTable, KnowsIPv6) {
  auto entries = parse_socket_table(kTcp6);
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(address_text(entries[0].local), "[fd00:b673::15]:7000");
  EXPECT_EQ(address_text(entries[0].peer), "[fd00:b673::2]:41956");
}

TEST(SocketTable, IsRead) {
  for (int protocol : {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_RAW, IPPROTO_ICMP}) EXPECT_TRUE(read_socket_table(protocol));
}

}  // namespace
}  // namespace ks::engine
