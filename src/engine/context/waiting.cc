// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/waiting.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "base/file.h"
#include "base/text.h"
#include "engine/context/open_file.h"
#include "engine/kernel/socket.h"
#include "engine/kernel/socket_table.h"
#include "engine/target/process.h"

namespace ks::engine {

namespace {

struct Holder {
  pid_t pid = 0;
  int fd = -1;
};

// Of each socket that they have open; `take` says whether it wants more.
void each_socket(std::span<const pid_t> pids, const std::function<bool(std::string_view inode, Holder)>& take) {
  constexpr std::string_view kPrefix = "socket:[";
  for (pid_t pid : pids) {
    std::string directory = proc_path(pid, "fd");
    auto names = list_directory(directory);
    if (!names) continue;
    for (const std::string& name : *names) {
      auto link = read_link(directory + "/" + name);
      if (!link || !link->starts_with(kPrefix)) continue;
      std::string_view rest = std::string_view(*link).substr(kPrefix.size());
      if (!take(take_until(rest, ']'), {pid, parse_number<int>(name).value_or(-1)})) return;
    }
  }
}

std::map<uint64_t, Holder> sockets_of(std::span<const pid_t> pids) {
  std::map<uint64_t, Holder> sockets;
  each_socket(pids, [&](std::string_view inode, Holder holder) {
    if (auto number = parse_number<uint64_t>(inode)) sockets.emplace(*number, holder);
    return true;
  });
  return sockets;
}

in_port_t port_of(const std::string& address) {
  return reinterpret_cast<const sockaddr_in*>(address.data())->sin_port;  // in both families at the same place
}

// Bound to no address of IPv6, it is there for IPv4 too, unless it says otherwise.
bool waits_for_ipv4(const SocketEntry& entry, Holder holder) {
  auto local = reinterpret_cast<const sockaddr_in6*>(entry.local.data());
  if (local->sin6_family != AF_INET6 || !IN6_IS_ADDR_UNSPECIFIED(&local->sin6_addr) || port_of(entry.peer))
    return false;
  auto fd = fetch_descriptor(holder.pid, holder.fd);
  auto only = fd ? read_number(fd->get(), SOL_IPV6, IPV6_V6ONLY) : std::unexpected(fd.error());
  return !only || *only == 0;
}

void add(int protocol, SocketEntry& entry, Holder holder, std::vector<NetworkSocket>& out) {
  if (waits_for_ipv4(entry, holder)) {
    sockaddr_in any{.sin_family = AF_INET, .sin_port = port_of(entry.local), .sin_addr = {}};
    out.push_back({protocol, std::string(reinterpret_cast<const char*>(&any), sizeof any), ""});
  }
  std::string peer = port_of(entry.peer) ? std::move(entry.peer) : std::string();
  out.push_back({protocol, std::move(entry.local), std::move(peer)});
}

}  // namespace

bool have_sockets(std::span<const pid_t> pids) {
  bool any = false;
  each_socket(pids, [&](std::string_view, Holder) {
    any = true;
    return false;
  });
  return any;
}

Result<WaitingSockets> find_waiting(std::span<const pid_t> pids) {
  std::map<uint64_t, Holder> known = sockets_of(pids);
  WaitingSockets waiting;
  for (int protocol : {IPPROTO_UDP, IPPROTO_UDPLITE})
    for (SocketEntry& entry : TRY(read_socket_table(protocol))) {
      auto found = known.find(entry.inode);
      if (found == known.end()) continue;
      waiting.unread += entry.unread > 0;
      add(protocol, entry, found->second, waiting.sockets);
    }
  auto entries = TRY(read_socket_table(IPPROTO_TCP));
  std::set<in_port_t> ports;
  for (SocketEntry& entry : entries) {
    auto found = known.find(entry.inode);
    if (entry.state != TCP_LISTEN || found == known.end()) continue;
    ports.insert(port_of(entry.local));
    waiting.unread += entry.unread;
    add(IPPROTO_TCP, entry, found->second, waiting.sockets);
  }
  // Who is about to connect: the last segment of three has not come.
  for (const SocketEntry& entry : entries)
    if (entry.state == TCP_SYN_RECV && ports.contains(port_of(entry.local))) ++waiting.unread;
  return waiting;
}

}  // namespace ks::engine
