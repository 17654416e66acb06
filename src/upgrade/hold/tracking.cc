// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/hold/tracking.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <netlink/addr.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netfilter/ct.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <unistd.h>

#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "upgrade/hold/held_socket.h"

namespace ks::upgrade {

namespace {

// There as soon as the kernel can track anything.
constexpr char kSwitch[] = "/proc/sys/net/netfilter/nf_conntrack_count";
constexpr uint32_t kTimeoutSeconds = 5 * 24 * 3600;  // the kernel's own for one that is established

struct Release {
  void operator()(nfnl_ct* entry) const { ::nfnl_ct_put(entry); }
  void operator()(nl_addr* address) const { ::nl_addr_put(address); }
};
using Entry = std::unique_ptr<nfnl_ct, Release>;
using Address = std::unique_ptr<nl_addr, Release>;

Address address_of(int family, const std::string& text) {
  in6_addr bytes{};
  ::inet_pton(family, text.c_str(), &bytes);  // it was looked at when its line was read
  return Address(::nl_addr_build(family, &bytes, family == AF_INET ? sizeof(in_addr) : sizeof(in6_addr)));
}

// It has not seen what the ends agreed on, so it must not judge their windows: as when the kernel takes up a
// connection in its midst by itself.
bool tolerate(nl_msg* message) {
  nf_ct_tcp_flags flags{.flags = IP_CT_TCP_FLAG_SACK_PERM | IP_CT_TCP_FLAG_BE_LIBERAL,
                        .mask = IP_CT_TCP_FLAG_SACK_PERM | IP_CT_TCP_FLAG_BE_LIBERAL};
  nlattr* protocol = ::nla_nest_start(message, CTA_PROTOINFO);
  nlattr* tcp = protocol ? ::nla_nest_start(message, CTA_PROTOINFO_TCP) : nullptr;
  bool done = tcp && ::nla_put_u8(message, CTA_PROTOINFO_TCP_STATE, TCP_CONNTRACK_ESTABLISHED) == 0 &&
              ::nla_put(message, CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, sizeof flags, &flags) == 0 &&
              ::nla_put(message, CTA_PROTOINFO_TCP_FLAGS_REPLY, sizeof flags, &flags) == 0;
  if (done) ::nla_nest_end(message, tcp), ::nla_nest_end(message, protocol);
  return done;
}

Result<> track(nl_sock* socket, int family, const HeldSocket::End& from, const HeldSocket::End& to) {
  Entry entry(::nfnl_ct_alloc());
  if (!entry) return fail("no memory", ENOMEM);
  ::nfnl_ct_set_family(entry.get(), static_cast<uint8_t>(family));
  ::nfnl_ct_set_proto(entry.get(), IPPROTO_TCP);
  for (int reply : {0, 1}) {
    const auto &source = reply ? to : from, &target = reply ? from : to;
    ::nfnl_ct_set_src(entry.get(), reply, address_of(family, source.address).get());
    ::nfnl_ct_set_src_port(entry.get(), reply, source.port);
    ::nfnl_ct_set_dst(entry.get(), reply, address_of(family, target.address).get());
    ::nfnl_ct_set_dst_port(entry.get(), reply, target.port);
  }
  ::nfnl_ct_set_timeout(entry.get(), kTimeoutSeconds);
  ::nfnl_ct_set_status(entry.get(), IPS_CONFIRMED | IPS_SEEN_REPLY | IPS_ASSURED);
  nl_msg* message = nullptr;
  int error = ::nfnl_ct_build_add_request(entry.get(), NLM_F_CREATE | NLM_F_EXCL, &message);
  if (error == 0 && !tolerate(message)) error = -NLE_NOMEM;
  if (error == 0)
    error = ::nl_send_sync(socket, message);  // and frees it
  else if (message)
    ::nlmsg_free(message);
  if (error < 0 && error != -NLE_EXIST) return fail(std::string("connection tracking: ") + ::nl_geterror(error));
  return {};
}

}  // namespace

Result<Tracking> Tracking::open() {
  if (::access(kSwitch, F_OK)) return Tracking(nullptr);
  Tracking tracking(::nl_socket_alloc());
  if (!tracking.socket_) return fail("no memory", ENOMEM);
  if (int error = ::nl_connect(tracking.socket_, NETLINK_NETFILTER); error < 0)
    return fail(std::string("connection tracking: ") + ::nl_geterror(error));
  return tracking;
}

Tracking::Tracking(Tracking&& other) noexcept : socket_(std::exchange(other.socket_, nullptr)) {}

Tracking::~Tracking() {
  if (socket_) ::nl_socket_free(socket_);
}

Result<> Tracking::add(std::span<const std::string> lines) const {
  if (!socket_) return {};
  std::vector<HeldSocket> sockets;
  std::set<uint16_t> waiting;  // ports at which the service was asked
  for (const std::string& line : lines) sockets.push_back(TRY(parse_held_socket(line)));
  for (const HeldSocket& socket : sockets)
    if (!socket.peer) waiting.insert(socket.local.port);
  for (const HeldSocket& socket : sockets) {
    if (!socket.peer || socket.protocol != "tcp") continue;
    bool was_asked = waiting.contains(socket.local.port);
    TRY(track(socket_, socket.family, was_asked ? *socket.peer : socket.local,
              was_asked ? socket.local : *socket.peer));
  }
  return {};
}

}  // namespace ks::upgrade
