// SPDX-License-Identifier: LGPL-2.1-or-later
// With the kernel's own packet filter, in a network namespace of the test's own.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <netinet/in.h>
#include <nftables/libnftables.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <functional>
#include <thread>

#include "base/fd.h"
#include "engine/engine.h"
#include "upgrade/hold/client.h"
#include "upgrade/hold/keeper.h"
#include "upgrade/hold/tracking.h"

namespace ks::upgrade {
namespace {

using engine::NetworkSocket;

std::string address4(const char* text, uint16_t port) {
  sockaddr_in in{.sin_family = AF_INET, .sin_port = htons(port)};
  inet_pton(AF_INET, text, &in.sin_addr);
  return {reinterpret_cast<const char*>(&in), sizeof in};
}

std::string address6(const char* text, uint16_t port) {
  sockaddr_in6 in{.sin6_family = AF_INET6, .sin6_port = htons(port)};
  inet_pton(AF_INET6, text, &in.sin6_addr);
  return {reinterpret_cast<const char*>(&in), sizeof in};
}

TEST(HeldSocket, IsALine) {
  EXPECT_EQ(*to_text({IPPROTO_TCP, address4("10.0.2.15", 6379), address4("10.0.2.2", 40000)}),
            "tcp 10.0.2.15 6379 10.0.2.2 40000");
  EXPECT_EQ(*to_text({IPPROTO_UDP, address6("::", 53), ""}), "udp :: 53");
  EXPECT_EQ(*to_text({IPPROTO_UDPLITE, address4("0.0.0.0", 9), ""}), "udplite 0.0.0.0 9");
  EXPECT_EQ(*to_text({IPPROTO_TCP, address6("::ffff:10.0.2.15", 80), address6("::ffff:10.0.2.2", 4)}),
            "tcp 10.0.2.15 80 10.0.2.2 4");
  EXPECT_FALSE(to_text({IPPROTO_TCP, std::string(3, 'x'), ""}));
}

TEST(HeldSocket, BelongsToASet) {
  auto flow = parse_held_socket("tcp 10.0.2.15 6379 10.0.2.2 40000");
  ASSERT_TRUE(flow);
  EXPECT_EQ(set_member(*flow).set, "flows4");
  EXPECT_EQ(set_member(*flow).key, "tcp . 10.0.2.15 . 6379 . 10.0.2.2 . 40000");
  EXPECT_EQ(set_member(*parse_held_socket("udp fd00::1 53")).set, "bound6");
  EXPECT_EQ(set_member(*parse_held_socket("tcp 0.0.0.0 80")).set, "ports4");
  EXPECT_EQ(set_member(*parse_held_socket("tcp :: 80")).key, "tcp . 80");
  for (const char* bad : {"", "tcp", "tcp 10.0.2.15", "icmp 10.0.2.15 1", "tcp 10.0.2.15 70000", "tcp 10.0.2 80",
                          "tcp 10.0.2.15 80 fd00::1 80", "tcp 10.0.2.15 80 10.0.2.2", "tcp 10.0.2.15 80;drop"})
    EXPECT_FALSE(parse_held_socket(bad)) << bad;
}

// A thread in a namespace with a loopback interface that is up.
void in_own_network(const std::function<void()>& body) {
  std::thread([&] {
    ASSERT_EQ(unshare(CLONE_NEWNET), 0) << strerror(errno);
    Fd socket(::socket(AF_INET, SOCK_DGRAM, 0));
    ifreq request{};
    strcpy(request.ifr_name, "lo");
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    ASSERT_EQ(ioctl(socket.get(), SIOCSIFFLAGS, &request), 0) << strerror(errno);
    body();
  }).join();
}

struct TcpPair {
  Fd listener, client, server;
  uint16_t port = 0, peer_port = 0;
  TcpPair() : listener(::socket(AF_INET, SOCK_STREAM, 0)), client(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in in{.sin_family = AF_INET};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* address = reinterpret_cast<sockaddr*>(&in);
    socklen_t length = sizeof in;
    EXPECT_EQ(bind(listener.get(), address, sizeof in), 0);
    EXPECT_EQ(listen(listener.get(), 5), 0);
    getsockname(listener.get(), address, &length);
    port = ntohs(in.sin_port);
    EXPECT_EQ(connect(client.get(), address, sizeof in), 0);
    server = Fd(accept(listener.get(), nullptr, nullptr));
    getsockname(client.get(), address, &length);
    peer_port = ntohs(in.sin_port);
  }
  std::string flow() const { return fmt(port, peer_port); }
  static std::string fmt(uint16_t port, uint16_t peer) {
    return "tcp 127.0.0.1 " + std::to_string(port) + " 127.0.0.1 " + std::to_string(peer);
  }
};

bool readable(int fd, int milliseconds) {
  pollfd poll{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&poll, 1, milliseconds) == 1;
}

// Nonblocking: what has become of it after the time. 0: connected, EINPROGRESS: no answer.
int connecting(const char* address, uint16_t port, int milliseconds) {
  Fd client(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
  std::string to = address4(address, port);
  if (connect(client.get(), reinterpret_cast<const sockaddr*>(to.data()), static_cast<socklen_t>(to.size())) &&
      errno != EINPROGRESS)
    return errno;
  pollfd poll{.fd = client.get(), .events = POLLOUT, .revents = 0};
  if (::poll(&poll, 1, milliseconds) == 0) return EINPROGRESS;
  int error = 0;
  socklen_t length = sizeof error;
  getsockopt(client.get(), SOL_SOCKET, SO_ERROR, &error, &length);
  return error;
}

TEST(Hold, LetsNothingThroughUntilItIsLifted) {
  in_own_network([] {
    TcpPair held, other;
    Holdings holdings;
    auto done = holdings.hold("a.service", std::vector{held.flow()});
    ASSERT_TRUE(done) << done.error().what;
    for (int fd : {held.client.get(), held.server.get(), other.client.get()}) EXPECT_EQ(write(fd, "x", 1), 1);
    EXPECT_TRUE(readable(other.server.get(), 2000));
    EXPECT_FALSE(readable(held.server.get(), 100));
    EXPECT_FALSE(readable(held.client.get(), 100));
    ASSERT_TRUE(holdings.lift("a.service"));
    EXPECT_TRUE(readable(held.server.get(), 10000));
    EXPECT_TRUE(readable(held.client.get(), 10000));
  });
}

TEST(Hold, LetsTheEngineSpeakForPeers) {
  in_own_network([] {
    TcpPair held;
    Holdings holdings;
    ASSERT_TRUE(holdings.hold("a.service", std::vector{held.flow()}));
    uint32_t mark = engine::kOwnPackets;
    ASSERT_EQ(setsockopt(held.client.get(), SOL_SOCKET, SO_MARK, &mark, sizeof mark), 0);
    EXPECT_EQ(write(held.client.get(), "x", 1), 1);
    EXPECT_TRUE(readable(held.server.get(), 2000));
    EXPECT_EQ(write(held.server.get(), "x", 1), 1);
    EXPECT_FALSE(readable(held.client.get(), 100));
  });
}

TEST(Hold, NobodyIsRefusedWhoConnectsMeanwhile) {
  in_own_network([] {
    TcpPair pair;
    uint16_t port = pair.port;
    pair.listener = Fd();
    EXPECT_EQ(connecting("127.0.0.1", port, 1000), ECONNREFUSED);
    for (std::string address : {"127.0.0.1 ", "0.0.0.0 "}) {
      Holdings holdings;
      ASSERT_TRUE(holdings.hold("a.service", std::vector{"tcp " + address + std::to_string(port)}));
      EXPECT_EQ(connecting("127.0.0.1", port, 200), EINPROGRESS) << address;
      EXPECT_EQ(connecting("127.0.0.2", port, 1000), address[0] == '1' ? ECONNREFUSED : EINPROGRESS);
      EXPECT_EQ(connecting("127.0.0.1", static_cast<uint16_t>(port + 1), 1000), ECONNREFUSED);
      EXPECT_EQ(write(pair.client.get(), "x", 1), 1);
      EXPECT_TRUE(readable(pair.server.get(), 2000)) << "connections of the same port are others";
      char byte;
      EXPECT_EQ(read(pair.server.get(), &byte, 1), 1);
    }
    EXPECT_EQ(connecting("127.0.0.1", port, 1000), ECONNREFUSED);
  });
}

TEST(Hold, DatagramsAreHeldToo) {
  in_own_network([] {
    Fd receiver(::socket(AF_INET, SOCK_DGRAM, 0)), sender(::socket(AF_INET, SOCK_DGRAM, 0));
    std::string to = address4("127.0.0.1", 5353);
    auto* address = reinterpret_cast<const sockaddr*>(to.data());
    ASSERT_EQ(bind(receiver.get(), address, static_cast<socklen_t>(to.size())), 0);
    Holdings holdings;
    ASSERT_TRUE(holdings.hold("a.service", std::vector<std::string>{"udp 0.0.0.0 5353", "udplite 0.0.0.0 5353"}));
    sendto(sender.get(), "x", 1, 0, address, static_cast<socklen_t>(to.size()));
    EXPECT_FALSE(readable(receiver.get(), 100));
    ASSERT_TRUE(holdings.lift("a.service"));
    sendto(sender.get(), "y", 1, 0, address, static_cast<socklen_t>(to.size()));
    EXPECT_TRUE(readable(receiver.get(), 2000));
  });
}

TEST(Hold, WhatTwoUnitsHaveIsHeldUntilBothAreLifted) {
  in_own_network([] {
    std::vector<std::string> lines = {"tcp 0.0.0.0 9", "tcp :: 9"};
    Holdings holdings;
    ASSERT_TRUE(holdings.hold("a.service", lines));
    ASSERT_TRUE(holdings.hold("b.service", lines));
    ASSERT_TRUE(holdings.lift("a.service"));
    ASSERT_TRUE(holdings.lift("c.service"));
    EXPECT_EQ(connecting("127.0.0.1", 9, 200), EINPROGRESS);
    EXPECT_FALSE(holdings.empty());
    ASSERT_TRUE(holdings.lift("b.service"));
    EXPECT_TRUE(holdings.empty());
    EXPECT_EQ(connecting("127.0.0.1", 9, 1000), ECONNREFUSED);
  });
}

TEST(Hold, NobodyElseChangesItAndItEndsWithItsMaker) {
  in_own_network([] {
    int ready[2];
    ASSERT_EQ(pipe(ready), 0);
    pid_t maker = fork();
    if (maker == 0) {
      Holdings holdings;
      bool done = holdings.hold("a.service", std::vector<std::string>{"tcp 0.0.0.0 9"}).has_value();
      if (write(ready[1], done ? "y" : "n", 1) == 1) pause();
      _exit(0);
    }
    char answer = 0;
    ASSERT_EQ(read(ready[0], &answer, 1), 1);
    EXPECT_EQ(answer, 'y');
    nft_ctx* other = nft_ctx_new(NFT_CTX_DEFAULT);
    nft_ctx_buffer_error(other);
    EXPECT_EQ(nft_run_cmd_from_buffer(other, "flush ruleset"), 0);
    EXPECT_NE(nft_run_cmd_from_buffer(other, "delete table inet kernel_swap"), 0);
    nft_ctx_free(other);
    EXPECT_EQ(connecting("127.0.0.1", 9, 200), EINPROGRESS);
    kill(maker, SIGKILL);
    waitpid(maker, nullptr, 0);
    // The kernel takes the table away on its own time, a moment later.
    int now = EINPROGRESS;
    for (int i = 0; i < 50 && now == EINPROGRESS; ++i) now = connecting("127.0.0.1", 9, 100);
    EXPECT_EQ(now, ECONNREFUSED);
    close(ready[0]);
    close(ready[1]);
  });
}

void pass(const TcpPair& pair, size_t bytes) {
  timeval patience{.tv_sec = 10, .tv_usec = 0};
  setsockopt(pair.client.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  setsockopt(pair.server.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  std::thread sending([&] {
    std::string piece(1 << 20, 'x');
    for (size_t sent = 0; sent < bytes; sent += piece.size())
      if (send(pair.client.get(), piece.data(), piece.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(piece.size()))
        break;
  });
  std::string piece(1 << 20, '\0');
  size_t got = 0;
  for (ssize_t read = 1; got < bytes && read > 0; got += static_cast<size_t>(std::max<ssize_t>(read, 0)))
    read = recv(pair.server.get(), piece.data(), piece.size(), 0);
  EXPECT_EQ(got, bytes);
  sending.join();
}

// As many firewalls are: a connection begins with its first segment, or not at all.
constexpr char kStrict[] = R"(table inet strict {
  chain in {
    type filter hook input priority filter; policy drop;
    ct state established accept
    ct state new tcp flags & (syn | ack) == syn accept
  }
})";

TEST(Tracking, AFirewallKnowsTheConnection) {
  in_own_network([] {
    TcpPair known, unknown;
    pass(known, 64 << 20);  // so that windows are large, and scaled
    nft_ctx* firewall = nft_ctx_new(NFT_CTX_DEFAULT);
    ASSERT_EQ(nft_run_cmd_from_buffer(firewall, kStrict), 0);
    nft_ctx_free(firewall);
    auto tracking = Tracking::open();
    ASSERT_TRUE(tracking) << tracking.error().what;
    for (int i = 0; i < 2; ++i) {
      auto added = tracking->add(std::vector<std::string>{"tcp 0.0.0.0 " + std::to_string(known.port), known.flow()});
      ASSERT_TRUE(added) << added.error().what;
    }
    EXPECT_EQ(write(known.client.get(), "x", 1), 1);
    EXPECT_EQ(write(unknown.client.get(), "x", 1), 1);
    EXPECT_TRUE(readable(known.server.get(), 2000));
    EXPECT_EQ(write(known.server.get(), "x", 1), 1);
    EXPECT_TRUE(readable(known.client.get(), 2000));
    EXPECT_FALSE(readable(unknown.server.get(), 100)) << "the firewall is none";
    char byte;
    EXPECT_EQ(read(known.server.get(), &byte, 1), 1);
    pass(known, 64 << 20);
  });
}

TEST(Hold, ProbeChangesNothing) {
  in_own_network([] {
    auto probed = HoldTable::probe();
    EXPECT_TRUE(probed) << probed.error().what;
    auto table = HoldTable::create();
    EXPECT_TRUE(table);
    EXPECT_TRUE(HoldTable::probe()) << "one that holds is in nobody's way";
  });
}

class KeeperTest : public testing::Test {
 protected:
  KeeperTest() : path_(testing::TempDir() + "/ks-hold-" + std::to_string(getpid())) {}
  ~KeeperTest() override { std::filesystem::remove(path_); }

  // With a keeper that serves meanwhile; what it came to.
  Result<> with_keeper(uint64_t limit, const std::function<void()>& body) {
    Result<> result;
    in_own_network([&] {
      auto keeper = Keeper::open(path_, Holdings());
      ASSERT_TRUE(keeper) << keeper.error().what;
      std::thread serving([&] { result = keeper->serve(limit); });
      body();
      serving.join();
    });
    return result;
  }
  const std::string path_;
  const std::vector<std::string> lines_ = {"tcp 0.0.0.0 9"};
};

TEST_F(KeeperTest, LiftsWhatIsNotToBeKept) {
  EXPECT_TRUE(with_keeper(60, [&] {
    auto watching = HoldClient::await(path_);
    {
      auto dumping = HoldClient::open(path_);
      ASSERT_TRUE(dumping && dumping->hold("a.service", lines_));
      EXPECT_EQ(connecting("127.0.0.1", 9, 200), EINPROGRESS);
    }
    int now = EINPROGRESS;
    for (int i = 0; i < 50 && now == EINPROGRESS; ++i) now = connecting("127.0.0.1", 9, 100);
    EXPECT_EQ(now, ECONNREFUSED);
  }));
}

TEST_F(KeeperTest, KeepsUntilItIsLifted) {
  EXPECT_TRUE(with_keeper(60, [&] {
    {
      auto dumping = HoldClient::await(path_);
      ASSERT_TRUE(dumping && dumping->hold("a.service", lines_) && dumping->keep());
    }
    EXPECT_EQ(connecting("127.0.0.1", 9, 200), EINPROGRESS);
    auto restoring = HoldClient::open(path_);
    ASSERT_TRUE(restoring && restoring->lift("a.service"));
    EXPECT_EQ(connecting("127.0.0.1", 9, 1000), ECONNREFUSED);
  }));
}

TEST_F(KeeperTest, AFaultyRequestIsAnErrorAndHoldsNothing) {
  EXPECT_TRUE(with_keeper(60, [&] {
    auto client = HoldClient::await(path_);
    ASSERT_TRUE(client);
    EXPECT_FALSE(client->hold("a.service", std::vector<std::string>{"tcp 0.0.0.0 9", "tcp nobody 9"}));
    EXPECT_EQ(connecting("127.0.0.1", 9, 1000), ECONNREFUSED);
    EXPECT_TRUE(client->end());
  }));
}

TEST_F(KeeperTest, LiftsAtItsLimitWhateverItsClientsDo) {
  auto kept = with_keeper(1, [&] {
    auto client = HoldClient::await(path_);
    ASSERT_TRUE(client && client->hold("a.service", lines_) && client->keep());
    EXPECT_EQ(connecting("127.0.0.1", 9, 5000), ECONNREFUSED) << "by the second SYN, a second later";
  });
  EXPECT_FALSE(kept);
}

}  // namespace
}  // namespace ks::upgrade
