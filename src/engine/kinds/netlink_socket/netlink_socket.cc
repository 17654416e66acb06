// SPDX-License-Identifier: LGPL-2.1-or-later
// Netlink sockets (netlink(7)) of which the kernel keeps nothing but what groups they listen to.
#include <fmt/format.h>
#include <linux/capability.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <map>

#include "base/file.h"
#include "engine/context/socket_state.h"
#include "engine/kernel/namespace.h"
#include "engine/kernel/netfilter_owners.h"
#include "engine/kernel/netlink_diag.h"
#include "engine/kernel/proc.h"
#include "engine/kinds/kind.h"
#include "engine/netlink_socket.pb.h"

namespace ks::engine {

namespace {

using Socket = image::NetlinkSocket;

constexpr std::string_view kName = "netlink-socket";
constexpr uint32_t kVersion = 1;

bool owns(const OpenFile& file) { return file.socket && file.socket->family == AF_NETLINK; }

// Of these, groups have fixed numbers and sockets no other state; what others are a part of would end with them.
bool is_simple(int protocol) {
  constexpr std::array kSimple = {NETLINK_ROUTE, NETLINK_NETFILTER,  NETLINK_USERSOCK,      NETLINK_SOCK_DIAG,
                                  NETLINK_XFRM,  NETLINK_FIB_LOOKUP, NETLINK_KOBJECT_UEVENT};
  return std::ranges::find(kSimple, protocol) != kSimple.end();
}

std::string why_not(int protocol) {
  switch (protocol) {
    case NETLINK_GENERIC:
      return "is of generic netlink, whose families another kernel numbers otherwise";
    case NETLINK_AUDIT:
      return "is of the audit system, where events may be sent to it alone";
    default:
      return fmt::format("is a netlink socket of protocol {}, which is not supported yet", protocol);
  }
}

// Addresses, routes, rules and packet filters lie in the kernel and belong to nobody. Who has set them shows in
// nothing but that he still has what it takes (capabilities(7)), over the network that the machine has when it boots.
Result<bool> can_set_up_network(const StoppedProcess& process) {
  for (const StoppedThread& thread : process.threads) {
    auto status = TRY(parse_status(TRY(read_record(process.proc(fmt::format("task/{}/status", thread.tid()))))));
    if (!(status.cap_permitted >> CAP_NET_ADMIN & 1)) continue;
    for (const char* space : {"user", "net"})
      if (TRY(namespace_of(process.pid, space)) != TRY(namespace_of(::getpid(), space))) return false;
    return true;
  }
  return false;
}

using Pids = std::vector<pid_t>;

Result<Pids> who_can_set_up_network(const Dumping& dumping) {
  Pids able;
  for (const StoppedProcess& process : dumping.processes)
    if (!process.zombie && TRY(in(fmt::format("pid {}", process.pid), can_set_up_network(process))))
      able.push_back(process.pid);
  return able;
}

// `able`: who can set up the network, where another kernel follows.
Result<> check_settings(Dumping& dumping, const OpenFile& file, const Pids& able) {
  bool in_flight = !file.within.empty();  // whoever gets it
  if (std::ranges::none_of(able, [&](pid_t pid) { return in_flight || dumping.number_of(pid, file.id) >= 0; }))
    return {};
  switch (file.socket->protocol) {
    case NETLINK_XFRM:
      return refuse(
          "is of IPsec, and what its process may have set there (CAP_NET_ADMIN) the next kernel begins without, "
          "whatever the mark says");
    case NETLINK_ROUTE:
    case NETLINK_NETFILTER: {
      std::string what = file.socket->protocol == NETLINK_ROUTE ? "addresses, routes and rules" : "packet filters";
      if (!dumping.options.leave_network_settings)
        return refuse(
            fmt::format("is for setting {}, as its process may (CAP_NET_ADMIN), and the next kernel begins "
                        "without them; with NetworkSettings=leave in the mark it goes on without them "
                        "(kernel-swap-mark(5))",
                        what));
      dumping.remark(file.pid, file.object(),
                     fmt::format("{} that it may have set stay behind (NetworkSettings=leave)", what));
      return {};
    }
    default:
      return {};
  }
}

Result<> read_groups(int fd, Socket& out) {
  constexpr uint32_t kBits = 32;
  std::vector<uint32_t> bits;
  socklen_t length = 0;
  for (;;) {
    length = static_cast<socklen_t>(bits.size() * sizeof bits[0]);
    if (::getsockopt(fd, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, bits.data(), &length))
      return fail_errno("NETLINK_LIST_MEMBERSHIPS");
    if (length <= bits.size() * sizeof bits[0]) break;
    bits.resize(length / sizeof bits[0]);
  }
  for (uint32_t i = 0; i < bits.size() * kBits; ++i)
    if (bits[i / kBits] >> i % kBits & 1) out.add_groups(i + 1);
  return {};
}

Result<> dump_socket(Dumping& dumping, const OpenFile& file, const NetlinkFacts& facts, const Pids& able) {
  Fd mine = TRY(file.fetch());
  if (!is_simple(file.socket->protocol)) return refuse(why_not(file.socket->protocol));
  if (auto other = TRY(dumping.outside.holder(file.link)))
    return refuse(fmt::format("shared with pid {}, which is not part of it", *other));
  TRY(check_settings(dumping, file, able));
  Socket out;
  out.set_id(file.id);
  out.set_state(TRY(read_socket_state(dumping.fresh_sockets, file, mine.get())).SerializeAsString());
  if (facts.answering) return refuse_for_now("has asked the kernel and not read the whole answer");
  pollfd poll{.fd = mine.get(), .events = POLLIN, .revents = 0};
  if (::poll(&poll, 1, 0) < 0) return fail_errno("poll");
  if (poll.revents & POLLIN) return refuse_for_now("holds messages that nobody has read yet");
  if (file.socket->protocol == NETLINK_NETFILTER && TRY(netfilter_owners()).contains(facts.port))
    return refuse("is of netfilter, and a queue, log or table belongs to it, which is not supported yet");
  out.set_port(facts.port);
  TRY(read_groups(mine.get(), out));
  out.set_connected(facts.connected);
  out.set_peer_port(facts.peer_port);
  out.set_peer_group(facts.peer_group);
  dumping.put_file(kName, kVersion, out);
  return {};
}

Result<> dump(Dumping& dumping, std::span<const OpenFile> files) {
  auto facts = netlink_sockets();
  bool matters = dumping.options.next_kernel && !files.empty();
  Pids able = matters ? TRY(who_can_set_up_network(dumping)) : Pids();
  for (const OpenFile& file : files)
    TRY(is_done(
        dumping, file,
        facts ? dump_socket(dumping, file, (*facts)[static_cast<uint32_t>(file.stat.st_ino)], able)
              : refuse("is of netlink, of which this kernel does not tell (NETLINK_DIAG): " + facts.error().what)));
  return {};
}

Result<Fd> make_one(Restoring&, const Socket& socket) {
  Fd fd = TRY(make_socket_from(socket.state()));
  sockaddr_nl address{.nl_family = AF_NETLINK, .nl_pad = 0, .nl_pid = socket.port(), .nl_groups = 0};
  if (socket.port() && ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address))
    return fail_errno(fmt::format("netlink port {}", socket.port()));
  for (uint32_t group : socket.groups())
    TRY(in("NETLINK_ADD_MEMBERSHIP",
           set_number(fd.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, static_cast<int>(group))));
  address.nl_pid = socket.peer_port();
  if (socket.peer_group()) address.nl_groups = 1u << (socket.peer_group() - 1);
  if (socket.connected() && ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address))
    return fail_errno("connect");
  return fd;
}

Result<Fds> make(Restoring& restoring, std::span<const Envelope> envelopes) {
  return make_each(restoring, envelopes, make_one);
}

}  // namespace

extern const Kind kNetlinkSocket;
const Kind kNetlinkSocket{.name = kName, .version = kVersion, .owns = owns, .dump = dump, .make = make};

}  // namespace ks::engine
