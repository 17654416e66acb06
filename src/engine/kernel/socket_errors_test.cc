// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/socket_errors.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

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

TEST(PendingErrors, AreSeenAndStay) {
  auto quiet = connect_pair(), broken = connect_pair(), left = connect_pair();
  if (auto probe = peek_error(quiet.client.get()); !probe) GTEST_SKIP() << probe.error().what;
  reset(std::move(broken.server));
  ::shutdown(left.server.get(), SHUT_WR);
  reset(std::move(left.server));
  for (int i = 0; i < 2; ++i) {
    auto none = peek_error(quiet.client.get()), cut = peek_error(broken.client.get()),
         after_end = peek_error(left.client.get());
    ASSERT_TRUE(none && cut && after_end);
    EXPECT_EQ(none->error, 0);
    EXPECT_FALSE(none->peer_ended);
    EXPECT_EQ(cut->error, ECONNRESET);
    EXPECT_FALSE(cut->peer_ended);
    EXPECT_EQ(after_end->error, EPIPE);
    EXPECT_TRUE(after_end->peer_ended);
  }
  EXPECT_EQ(read_number(broken.client.get(), SOL_SOCKET, SO_ERROR).value_or(0), ECONNRESET);
  EXPECT_EQ(peek_error(broken.client.get())->error, 0);
}

}  // namespace
}  // namespace ks::engine
