// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/waiting.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <functional>
#include <set>

#include "base/file.h"
#include "base/text.h"
#include "engine/kernel/socket_table.h"
#include "engine/target/process.h"

namespace ks::engine {

namespace {

// Of each socket that they have open; `take` says whether it wants more.
void each_socket(std::span<const pid_t> pids, const std::function<bool(std::string_view inode)>& take) {
  constexpr std::string_view kPrefix = "socket:[";
  for (pid_t pid : pids) {
    std::string directory = proc_path(pid, "fd");
    auto names = list_directory(directory);
    if (!names) continue;
    for (const std::string& name : *names) {
      auto link = read_link(directory + "/" + name);
      if (!link || !link->starts_with(kPrefix)) continue;
      std::string_view rest = std::string_view(*link).substr(kPrefix.size());
      if (!take(take_until(rest, ']'))) return;
    }
  }
}

std::set<uint64_t> sockets_of(std::span<const pid_t> pids) {
  std::set<uint64_t> inodes;
  each_socket(pids, [&](std::string_view inode) {
    if (auto number = parse_number<uint64_t>(inode)) inodes.insert(*number);
    return true;
  });
  return inodes;
}

in_port_t port_of(const std::string& address) {
  return reinterpret_cast<const sockaddr_in*>(address.data())->sin_port;  // in both families at the same place
}

}  // namespace

bool have_sockets(std::span<const pid_t> pids) {
  bool any = false;
  each_socket(pids, [&](std::string_view) {
    any = true;
    return false;
  });
  return any;
}

Result<WaitingSockets> find_waiting(std::span<const pid_t> pids) {
  std::set<uint64_t> inodes = sockets_of(pids);
  WaitingSockets waiting;
  for (int protocol : {IPPROTO_UDP, IPPROTO_UDPLITE})
    for (SocketEntry& entry : TRY(read_socket_table(protocol))) {
      if (!inodes.contains(entry.inode)) continue;
      waiting.unread += entry.unread > 0;
      waiting.sockets.push_back(
          {protocol, std::move(entry.local), port_of(entry.peer) ? std::move(entry.peer) : std::string()});
    }
  auto entries = TRY(read_socket_table(IPPROTO_TCP));
  std::set<in_port_t> ports;
  for (SocketEntry& entry : entries) {
    if (entry.state != TCP_LISTEN || !inodes.contains(entry.inode)) continue;
    ports.insert(port_of(entry.local));
    waiting.unread += entry.unread;
    waiting.sockets.push_back({IPPROTO_TCP, std::move(entry.local), ""});
  }
  // Who is about to connect: the last segment of three has not come.
  for (const SocketEntry& entry : entries)
    if (entry.state == TCP_SYN_RECV && ports.contains(port_of(entry.local))) ++waiting.unread;
  return waiting;
}

}  // namespace ks::engine
