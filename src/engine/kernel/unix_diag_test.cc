// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/unix_diag.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <string>

#include "base/fd.h"

namespace ks::engine {
namespace {

uint32_t inode_of(int fd) {
  struct stat stat{};
  ::fstat(fd, &stat);
  return static_cast<uint32_t>(stat.st_ino);
}

TEST(UnixSockets, AreListedWithTheirPeers) {
  int fds[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
  Fd one(fds[0]), other(fds[1]);
  ASSERT_EQ(::write(one.get(), "abc", 3), 3);
  ASSERT_EQ(::shutdown(one.get(), SHUT_WR), 0);
  auto table = read_unix_sockets();
  ASSERT_TRUE(table) << table.error().what;
  const auto& facts = table->at(inode_of(one.get()));
  EXPECT_EQ(facts.peer, inode_of(other.get()));
  EXPECT_FALSE(facts.listens);
  EXPECT_GT(facts.unread, 0u);
  EXPECT_EQ(facts.shutdown, 2);
  EXPECT_EQ(table->at(inode_of(other.get())).unread, 0u);
}

TEST(UnixSockets, WaitWhereTheyHaveNotBeenAccepted) {
  sockaddr_un address{.sun_family = AF_UNIX};
  std::string name = "kernel-swap-unit-" + std::to_string(::getpid());
  name.copy(address.sun_path + 1, name.size());
  auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  Fd listener(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)), client(::socket(AF_UNIX, SOCK_SEQPACKET, 0));
  auto* at = reinterpret_cast<sockaddr*>(&address);
  ASSERT_EQ(::bind(listener.get(), at, length), 0);
  ASSERT_EQ(::listen(listener.get(), 5), 0);
  ASSERT_EQ(::connect(client.get(), at, length), 0);
  auto table = read_unix_sockets();
  ASSERT_TRUE(table) << table.error().what;
  const auto& facts = table->at(inode_of(listener.get()));
  EXPECT_TRUE(facts.listens);
  EXPECT_EQ(facts.backlog, 5);
  EXPECT_EQ(facts.waiting, std::vector{inode_of(client.get())});
  EXPECT_EQ(table->at(inode_of(client.get())).peer, 0u);  // which no inode has
  EXPECT_EQ(table->at(inode_of(client.get())).shutdown, 0);
}

}  // namespace
}  // namespace ks::engine
