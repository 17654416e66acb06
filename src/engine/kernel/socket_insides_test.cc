// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/socket_insides.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "base/fd.h"
#include "engine/kernel/socket.h"

namespace ks::engine {
namespace {

struct Connection {
  Fd client, server;
};

Connection connect_pair() {
  Fd listener(::socket(AF_INET, SOCK_STREAM, 0)), client(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t length = sizeof address;
  auto* any = reinterpret_cast<sockaddr*>(&address);
  EXPECT_TRUE(::bind(listener.get(), any, length) == 0 && ::listen(listener.get(), 1) == 0);
  EXPECT_TRUE(::getsockname(listener.get(), any, &length) == 0 && ::connect(client.get(), any, length) == 0);
  return {std::move(client), Fd(::accept(listener.get(), nullptr, nullptr))};
}

void reset(Fd connection) {
  linger none{.l_onoff = 1, .l_linger = 0};
  ASSERT_EQ(::setsockopt(connection.get(), SOL_SOCKET, SO_LINGER, &none, sizeof none), 0);
}

TEST(SocketInsides, TellOfErrorsThatStay) {
  auto quiet = connect_pair(), broken = connect_pair(), left = connect_pair();
  reset(std::move(broken.server));
  ::shutdown(left.server.get(), SHUT_WR);
  reset(std::move(left.server));
  for (int i = 0; i < 2; ++i) {
    auto all = look_into_sockets();
    if (!all) GTEST_SKIP() << all.error().what;
    auto none = all->at(quiet.client.get()), cut = all->at(broken.client.get()),
         after_end = all->at(left.client.get());
    EXPECT_EQ(none.error, 0);
    EXPECT_FALSE(none.peer_ended);
    EXPECT_EQ(cut.error, ECONNRESET);
    EXPECT_FALSE(cut.peer_ended);
    EXPECT_EQ(after_end.error, EPIPE);
    EXPECT_TRUE(after_end.peer_ended);
  }
  EXPECT_EQ(read_number(broken.client.get(), SOL_SOCKET, SO_ERROR).value_or(0), ECONNRESET);
  EXPECT_EQ(look_into_sockets()->at(broken.client.get()).error, 0);
}

TEST(SocketInsides, TellWhatIsUrgent) {
  auto pair = connect_pair(), quiet = connect_pair();
  int server = pair.server.get(), client = pair.client.get();
  char bytes[8];
  ASSERT_TRUE(::send(client, "abcd", 4, MSG_OOB) == 4 && ::send(client, "e", 1, 0) == 1);
  ASSERT_TRUE(::recv(server, bytes, 1, 0) == 1 && ::send(quiet.client.get(), "a", 1, 0) == 1);
  auto all = look_into_sockets();
  if (!all) GTEST_SKIP() << all.error().what;
  TcpInsides urgent = all->at(server).tcp, sent = all->at(client).tcp, none = all->at(quiet.server.get()).tcp;
  EXPECT_EQ(urgent.urgent, TcpInsides::kHasCome | 'd');
  EXPECT_EQ(urgent.urgent_at - urgent.read_up_to, 2u);
  EXPECT_LE(static_cast<int32_t>(sent.urgent_sent - sent.acknowledged), 0) << "it has been acknowledged";
  EXPECT_EQ(none.urgent, 0);

  ASSERT_EQ(::recv(server, bytes, 1, MSG_OOB), 1);
  EXPECT_EQ(look_into_sockets()->at(server).tcp.urgent, TcpInsides::kHasBeenRead);
  ASSERT_TRUE(::recv(server, bytes, sizeof bytes, 0) == 2 && ::recv(server, bytes, sizeof bytes, 0) == 1);
  EXPECT_EQ(look_into_sockets()->at(server).tcp.urgent, 0) << "the mark lies behind";

  // More than is taken, of which the last byte but two is urgent.
  std::string much(1 << 20, 'x');
  ASSERT_EQ(::fcntl(client, F_SETFL, O_NONBLOCK), 0);
  while (::send(client, much.data(), much.size(), 0) > 0);
  int free = 4 << 20, sent_bytes = 0;
  ASSERT_EQ(::setsockopt(client, SOL_SOCKET, SO_SNDBUFFORCE, &free, sizeof free), 0);
  ASSERT_TRUE(::send(client, "u", 1, MSG_OOB) == 1 && ::send(client, "vw", 2, 0) == 2);
  sent = look_into_sockets()->at(client).tcp;
  ASSERT_EQ(::ioctl(client, SIOCOUTQ, &sent_bytes), 0);
  EXPECT_EQ(sent.urgent_sent - sent.acknowledged, static_cast<uint32_t>(sent_bytes - 2));
}

TEST(SocketInsides, TellWhereMulticastGoes) {
  Fd fresh(::socket(AF_INET, SOCK_DGRAM, 0)), chosen(::socket(AF_INET6, SOCK_DGRAM, 0)),
      other(::socket(AF_UNIX, SOCK_DGRAM, 0));
  auto all = look_into_sockets();
  if (!all || !chosen) GTEST_SKIP() << "no BTF or no IPv6";
  EXPECT_EQ(all->at(fresh.get()).multicast_interface, 0u);
  ip_mreqn loopback{.imr_multiaddr = {}, .imr_address = {}, .imr_ifindex = 1};
  ASSERT_EQ(::setsockopt(chosen.get(), SOL_IP, IP_MULTICAST_IF, &loopback, sizeof loopback), 0);
  all = look_into_sockets();
  EXPECT_EQ(all->at(chosen.get()).multicast_interface, 1u);
  EXPECT_TRUE(all->contains(other.get()));
}

TEST(SocketInsides, CountDatagrams) {
  Fd receiver(::socket(AF_INET, SOCK_DGRAM, 0)), sender(::socket(AF_INET, SOCK_DGRAM, 0));
  sockaddr_in address{.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t length = sizeof address;
  auto* any = reinterpret_cast<sockaddr*>(&address);
  ASSERT_TRUE(::bind(receiver.get(), any, length) == 0 && ::getsockname(receiver.get(), any, &length) == 0);
  char byte;
  for (size_t bytes : {1, 0, 1}) ASSERT_EQ(::sendto(sender.get(), "x", bytes, 0, any, length), ssize_t(bytes));
  auto all = look_into_sockets();
  if (!all) GTEST_SKIP() << all.error().what;
  EXPECT_EQ(all->at(receiver.get()).datagrams, 3u);
  ASSERT_EQ(::recv(receiver.get(), &byte, 1, 0), 1);
  ASSERT_EQ(::recv(receiver.get(), &byte, 1, MSG_PEEK), 0);
  EXPECT_EQ(look_into_sockets()->at(receiver.get()).datagrams, 2u);
  EXPECT_EQ(look_into_sockets()->at(sender.get()).datagrams, 0u);
}

}  // namespace
}  // namespace ks::engine
