// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/waiting.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/file.h"
#include "base/text.h"
#include "engine/context/open_file.h"
#include "engine/kernel/io_uring.h"
#include "engine/kernel/socket.h"
#include "engine/kernel/socket_table.h"
#include "engine/target/process.h"

namespace ks::engine {

namespace {

struct Holder {
  pid_t pid = 0;
  int fd = -1;
};

constexpr std::string_view kSocket = "socket:[";  // begins the link of one

std::map<uint64_t, Holder> sockets_of(std::span<const pid_t> pids) {
  std::map<uint64_t, Holder> sockets;
  for (pid_t pid : pids) {
    auto descriptors = list_descriptors(pid);
    if (!descriptors) continue;
    for (const auto& [fd, link] : *descriptors) {
      if (!link.starts_with(kSocket)) continue;
      std::string_view rest = std::string_view(link).substr(kSocket.size());
      auto inode = parse_number<uint64_t>(take_until(rest, ']'));
      if (inode) sockets.emplace(*inode, Holder{pid, fd});
    }
  }
  return sockets;
}

in_port_t port_of(const std::string& address) {
  return reinterpret_cast<const sockaddr_in*>(address.data())->sin_port;  // in both families at the same place
}

bool is_any_of_ipv6(const std::string& local) {
  auto* in = reinterpret_cast<const sockaddr_in6*>(local.data());
  return in->sin6_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&in->sin6_addr);
}

std::string any_of_ipv4(in_port_t port) {
  sockaddr_in any{.sin_family = AF_INET, .sin_port = port, .sin_addr = {}};
  return {reinterpret_cast<const char*>(&any), sizeof any};
}

// Of one that cannot be asked any more it is taken to wait for both.
void add(int protocol, SocketEntry& entry, Holder holder, std::vector<NetworkSocket>& out) {
  if (is_any_of_ipv6(entry.local) && !port_of(entry.peer)) {
    auto fd = fetch_descriptor(holder.pid, holder.fd);
    auto four = fd ? address_for_ipv4(fd->get(), entry.local) : std::unexpected(fd.error());
    if (!four) four = any_of_ipv4(port_of(entry.local));
    if (*four) out.push_back({protocol, **std::move(four), ""});
  }
  std::string peer = port_of(entry.peer) ? std::move(entry.peer) : std::string();
  out.push_back({protocol, std::move(entry.local), std::move(peer)});
}

}  // namespace

Result<std::optional<std::string>> address_for_ipv4(int fd, const std::string& local) {
  if (!is_any_of_ipv6(local) || TRY(read_number(fd, SOL_IPV6, IPV6_V6ONLY))) return std::nullopt;
  return any_of_ipv4(port_of(local));
}

bool show_sockets(std::span<const pid_t> pids) {
  constexpr int kMost = 64;
  return std::ranges::any_of(pids, [](pid_t pid) {
    auto links = open_file(proc_path(pid, "fd"), O_PATH | O_DIRECTORY);
    for (int fd = 0; links && fd < kMost; ++fd) {
      auto link = read_link_at(links->get(), std::to_string(fd));
      if (!link) return false;
      if (link->starts_with(kSocket)) return true;
    }
    return false;
  });
}

bool have_rings(std::span<const pid_t> pids) {
  return std::ranges::any_of(pids, [](pid_t pid) {
    auto descriptors = list_descriptors(pid);
    return descriptors && std::ranges::find(*descriptors, kRingLink, &DescriptorLink::link) != descriptors->end();
  });
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
