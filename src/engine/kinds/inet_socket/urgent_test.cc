// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kinds/inet_socket/urgent.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <thread>

#include "base/fd.h"
#include "engine/kernel/socket.h"
#include "engine/kinds/inet_socket/address.h"
#include "engine/kinds/inet_socket/connection.h"
#include "engine/kinds/inet_socket/repair.h"
#include "engine/kinds/inet_socket/route.h"

namespace ks::engine::inet_socket {
namespace {

std::string at4(const char* text, uint16_t port) {
  sockaddr_in in{.sin_family = AF_INET, .sin_port = htons(port)};
  ::inet_pton(AF_INET, text, &in.sin_addr);
  return bytes_of(in);
}
std::string at6(const char* text, uint16_t port) {
  sockaddr_in6 in{.sin6_family = AF_INET6, .sin6_port = htons(port)};
  ::inet_pton(AF_INET6, text, &in.sin6_addr);
  return bytes_of(in);
}

struct Ends {
  std::string local, peer;
};
// Of nobody here: no interface has these addresses.
const Ends kEnds[] = {{at4("198.51.100.1", 40000), at4("203.0.113.2", 50000)},
                      {at6("2001:db8::1", 40000), at6("2001:db8:1::2", 50000)},
                      {at6("::ffff:198.51.100.1", 40000), at6("::ffff:203.0.113.2", 50000)}};

image::TcpConnection connection_with(const std::string& unread, uint32_t mark, bool has_been_read) {
  image::TcpConnection connection;
  connection.mutable_received()->set_data(unread);
  connection.mutable_received()->set_end(0xfffffffe + static_cast<uint32_t>(unread.size()));  // past zero
  connection.mutable_sent()->set_data("unheard");
  connection.mutable_sent()->set_end(1000);
  connection.set_segment_bytes(1400);
  connection.set_has_timestamps(true);
  auto* window = connection.mutable_window();
  window->set_update_sequence(connection.received().end());
  window->set_send(10'000);
  window->set_largest(10'000);
  window->set_receive(20'000);
  window->set_receive_update(connection.received().end());
  connection.mutable_urgent()->set_offset(mark);
  connection.mutable_urgent()->set_has_been_read(has_been_read);
  return connection;
}

// Under repair, with all that was there.
Result<Fd> make(const Ends& ends, const image::TcpConnection& connection, bool in_line, const char* device = "") {
  Fd fd = TRY(make_socket({as<sockaddr>(ends.local).sa_family, SOCK_STREAM, IPPROTO_TCP}));
  if (in_line) TRY(set_number(fd.get(), SOL_SOCKET, SO_OOBINLINE, 1));
  if (*device) TRY(set_option(fd.get(), SOL_SOCKET, SO_BINDTODEVICE, device));
  TRY(enter_repair(fd.get()));
  TRY(bind_anyhow(fd.get(), ends.local));
  TRY(prepare_connection(fd.get(), connection));
  TRY(connect_anyhow(fd.get(), ends.peer));
  TRY(fill_connection(fd.get(), connection));
  TRY(put_from_mark(fd.get(), connection, ends.local, ends.peer));
  return fd;
}

bool at_mark(int fd) {
  int value = 0;
  ::ioctl(fd, SIOCATMARK, &value);
  return value;
}
std::string hear(int fd) {
  std::string text(1 << 17, '\0');
  text.resize(static_cast<size_t>(std::max<ssize_t>(::recv(fd, text.data(), text.size(), MSG_DONTWAIT), 0)));
  return text;
}
std::string take_urgent(int fd) {
  char byte;
  return ::recv(fd, &byte, 1, MSG_OOB | MSG_DONTWAIT) == 1 ? std::string(1, byte) : ::strerrorname_np(errno);
}

bool raise_loopback() {
  Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  return ::ioctl(socket.get(), SIOCSIFFLAGS, &request) == 0;
}

// Nothing that the kernel says to the peers in the end gets out of here.
void in_own_network(const std::function<void(const Ends&)>& body) {
  if (::geteuid() != 0) GTEST_SKIP() << "must be run as root";
  bool entered = false;
  std::thread([&] {
    entered = ::unshare(CLONE_NEWNET) == 0;
    if (!entered || !raise_loopback()) return;
    for (const Ends& ends : kEnds) body(ends);
  }).join();
  if (!entered) GTEST_SKIP() << "no network namespaces";
}

TEST(UrgentData, IsMarkedWhereItWas) {
  in_own_network([](const Ends& ends) {
    SCOPED_TRACE(address_text(ends.local));
    const std::string before(30'000, 'b');
    auto made = make(ends, connection_with(before + "u" + "after", 30'000, false), false);
    ASSERT_TRUE(made) << made.error().what;
    int fd = made->get();
    ASSERT_TRUE(leave_repair(fd, false));
    EXPECT_FALSE(at_mark(fd));
    EXPECT_EQ(hear(fd), before);
    EXPECT_TRUE(at_mark(fd));
    EXPECT_EQ(take_urgent(fd), "u");
    EXPECT_EQ(hear(fd), "after");
    EXPECT_EQ(take_urgent(fd), "EINVAL");
    ASSERT_TRUE(enter_repair(fd));  // and ends without a word
  });
}

TEST(UrgentData, MayHaveBeenReadOrComeInLine) {
  in_own_network([](const Ends& ends) {
    SCOPED_TRACE(address_text(ends.local));
    auto read = make(ends, connection_with("uafter", 0, true), false);
    ASSERT_TRUE(read) << read.error().what;
    ASSERT_TRUE(leave_repair(read->get(), false));
    EXPECT_TRUE(at_mark(read->get()));
    EXPECT_EQ(take_urgent(read->get()), "EINVAL");
    EXPECT_EQ(hear(read->get()), "after");
    ASSERT_TRUE(enter_repair(read->get()));
    *read = Fd();
    auto in_line = make(ends, connection_with("uafter", 0, false), true);
    ASSERT_TRUE(in_line) << in_line.error().what;
    ASSERT_TRUE(leave_repair(in_line->get(), false));
    EXPECT_TRUE(at_mark(in_line->get()));
    EXPECT_EQ(hear(in_line->get()), "uafter");
    EXPECT_FALSE(at_mark(in_line->get()));
    ASSERT_TRUE(enter_repair(in_line->get()));
  });
}

TEST(UrgentData, MayOnlyBeAnnounced) {
  in_own_network([](const Ends& ends) {
    SCOPED_TRACE(address_text(ends.local));
    for (uint32_t mark : {4u, 60'000u}) {
      auto made = make(ends, connection_with("come", mark, false), false, "lo");
      ASSERT_TRUE(made) << made.error().what;
      ASSERT_TRUE(leave_repair(made->get(), false));
      EXPECT_EQ(take_urgent(made->get()), "EAGAIN");
      EXPECT_EQ(hear(made->get()), "come");
      EXPECT_EQ(at_mark(made->get()), mark == 4);
      EXPECT_EQ(read_option(made->get(), {SOL_SOCKET, SO_BINDTODEVICE, ""})->value_or("").substr(0, 2), "lo");
      ASSERT_TRUE(enter_repair(made->get()));
    }
  });
}

}  // namespace
}  // namespace ks::engine::inet_socket
