// SPDX-License-Identifier: LGPL-2.1-or-later
// Network namespaces (network_namespaces(7)): interfaces, addresses, routes, rules, packet filters and settings.
#include <fmt/format.h>
#include <linux/if_addr.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/xfrm.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <span>
#include <vector>

#include "base/file.h"
#include "base/text.h"
#include "engine/context/namespace_state.h"
#include "engine/kernel/namespace.h"
#include "engine/kernel/netlink.h"

namespace ks::engine {

namespace {

using Bytes = std::span<const std::byte>;

// One dump request, and which attributes of the answers come and go by themselves.
struct Question {
  const char* what;
  int protocol;
  uint16_t type;
  size_t header;                  // of each answer, before its attributes
  std::vector<uint16_t> counted;  // only these count; empty: all but `ignored`
  std::vector<uint16_t> ignored;
};

const std::vector<Question>& questions() {
  static const std::vector<Question> all = {
      {"interface",
       NETLINK_ROUTE,
       RTM_GETLINK,
       sizeof(ifinfomsg),
       {IFLA_IFNAME, IFLA_MTU, IFLA_TXQLEN, IFLA_QDISC, IFLA_ADDRESS, IFLA_GROUP, IFLA_PROMISCUITY, IFLA_IFALIAS,
        IFLA_MASTER},
       {}},
      {"address", NETLINK_ROUTE, RTM_GETADDR, sizeof(ifaddrmsg), {}, {IFA_CACHEINFO}},
      {"route", NETLINK_ROUTE, RTM_GETROUTE, sizeof(rtmsg), {}, {RTA_CACHEINFO}},
      {"routing rule", NETLINK_ROUTE, RTM_GETRULE, sizeof(rtmsg), {}, {}},
      {"queueing discipline", NETLINK_ROUTE, RTM_GETQDISC, sizeof(tcmsg), {TCA_KIND, TCA_OPTIONS}, {}},
      {"packet filter table",
       NETLINK_NETFILTER,
       NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE,
       sizeof(nfgenmsg),
       {NFTA_TABLE_NAME},
       {}},
      {"IPsec state", NETLINK_XFRM, XFRM_MSG_GETSA, sizeof(xfrm_usersa_info), {XFRMA_MARK}, {}},
      {"IPsec policy", NETLINK_XFRM, XFRM_MSG_GETPOLICY, sizeof(xfrm_userpolicy_info), {XFRMA_MARK}, {}},
  };
  return all;
}

std::string hex(Bytes bytes) {
  std::string text;
  for (std::byte byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned>(byte));
  return text;
}

// Its name or address in words where there is one, then all that counts.
std::string describe_answer(const Question& question, Bytes body) {
  std::string name, rest;
  constexpr uint16_t kTables = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE;
  if (question.type != kTables) rest = hex(body.first(std::min(body.size(), question.header)));
  each_attribute(
      body.subspan(std::min(body.size(), NLMSG_ALIGN(question.header))), [&](uint16_t flagged, Bytes value) {
        uint16_t type = flagged & NLA_TYPE_MASK;
        bool named = (question.type == RTM_GETLINK && type == IFLA_IFNAME) ||
                     (question.type == kTables && type == NFTA_TABLE_NAME) ||
                     (question.type == RTM_GETQDISC && type == TCA_KIND);
        if (named)
          name = fmt::format(" {}", std::string_view(reinterpret_cast<const char*>(value.data()), value.size() - 1));
        if (question.type == RTM_GETADDR && type == IFA_ADDRESS) name = fmt::format(" {}", hex(value));
        bool counts = question.counted.empty() ? std::ranges::find(question.ignored, type) == question.ignored.end()
                                               : std::ranges::find(question.counted, type) != question.counted.end();
        if (counts && !named) rest += fmt::format(" {}:{}", type, hex(value));
      });
  return fmt::format("{}{} [{}]", question.what, name, rest);
}

// A subsystem that the kernel has not loaded has nothing.
bool is_absent(int code) {
  constexpr std::array kSuch = {EPROTONOSUPPORT, EAFNOSUPPORT, EOPNOTSUPP, EINVAL, ENOENT};
  return std::ranges::find(kSuch, code) != kSuch.end();
}

Result<> ask(const Question& question, std::set<std::string>& state) {
  // Of IPsec only what it has to say, not how long the answers to others would be.
  std::vector<std::byte> nothing(question.protocol == NETLINK_XFRM ? 0 : NLMSG_ALIGN(question.header));
  auto asked = ask_netlink(question.protocol, question.type, NLM_F_DUMP, nothing,
                           [&](Bytes answer) { state.insert(describe_answer(question, answer)); });
  return asked || !is_absent(asked.error().code) ? asked : Result<>();
}

// What shows in /proc/sys/net is of the reading thread's namespace.
void add_settings(std::set<std::string>& state) {
  namespace fs = std::filesystem;
  std::error_code error;
  for (auto at = fs::recursive_directory_iterator("/proc/sys/net", error); !error && at != fs::end(at);
       at.increment(error)) {
    std::string path = at->path();
    if (!at->is_regular_file(error) || path.ends_with("nf_conntrack_count")) continue;
    if (auto value = read_file(path)) state.insert(path.substr(10) + " = " + std::string(trim(*value)));
  }
}

Result<std::set<std::string>> describe() {
  std::set<std::string> state;
  for (const Question& question : questions()) TRY(in(question.what, ask(question, state)));
  for (const char* list : {"ip_tables_names", "ip6_tables_names", "arp_tables_names"})
    if (auto names = read_file(std::string("/proc/thread-self/net/") + list))
      for (auto name : split(*names, '\n')) state.insert("packet filter table " + std::string(name));
  add_settings(state);
  return state;
}

// Of the caller's thread. netdevice(7)
Result<short> change_loopback(short flags) {
  Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno("socket");
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  if (::ioctl(socket.get(), SIOCGIFFLAGS, &request)) return fail_errno("lo");
  short before = request.ifr_flags;
  request.ifr_flags = static_cast<short>(before | flags);
  if (flags && ::ioctl(socket.get(), SIOCSIFFLAGS, &request)) return fail_errno("lo");
  return before;
}

Result<bool> sees_loopback_up() { return TRY(change_loopback(0)) & IFF_UP; }

// As systemd does it; the kernel then assigns none itself.
Result<> assign_loopback_addresses() {
  Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in four{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  ifreq lo{};
  std::strcpy(lo.ifr_name, "lo");
  std::memcpy(&lo.ifr_addr, &four, sizeof four);
  if (::ioctl(socket.get(), SIOCSIFADDR, &lo)) return fail_errno("lo");

  // By netlink, since systemd wants no route to the prefix. Without IPv6 this fails, and there is no ::1.
  struct {
    ifaddrmsg address{
        .ifa_family = AF_INET6, .ifa_prefixlen = 128, .ifa_flags = 0, .ifa_scope = RT_SCOPE_HOST, .ifa_index = 1};
    rtattr local{.rta_len = RTA_LENGTH(sizeof(in6_addr)), .rta_type = IFA_LOCAL};
    in6_addr six = IN6ADDR_LOOPBACK_INIT;
    rtattr flags{.rta_len = RTA_LENGTH(sizeof(uint32_t)), .rta_type = IFA_FLAGS};
    uint32_t permanent = IFA_F_PERMANENT | IFA_F_NOPREFIXROUTE;
  } six;
  (void)ask_netlink(NETLINK_ROUTE, RTM_NEWADDR, NLM_F_ACK, std::as_bytes(std::span(&six, 1)), [](Bytes) {});
  return {};
}

// An address that was there before the interface was up gets its route from a worker of the kernel, a moment later.
void await_loopback_route() {
  constexpr std::string_view kAddress = "00000000000000000000000000000001 80 ", kLocal = " 80200001 ";
  for (int i = 0; i < 1000; ++i) {
    auto routes = read_file("/proc/thread-self/net/ipv6_route");
    if (!routes || std::ranges::any_of(split(*routes, '\n'), [&](std::string_view line) {
          return line.starts_with(kAddress) && line.find(kLocal) != line.npos;
        }))
      return;
    ::usleep(1000);
  }
}

Result<> raise_loopback(bool assigned) {
  if (assigned) TRY(assign_loopback_addresses());
  TRY(change_loopback(IFF_UP));
  if (assigned) await_loopback_route();
  return {};
}

// Bytes are for comparing alone.
std::string readable(const std::string& line) { return line.substr(0, line.find(" [")); }

}  // namespace

Result<NetworkState> examine_network(int fd, const std::function<Result<Fd>()>& make_fresh) {
  NetworkState network;
  std::set<std::string> state;
  TRY(inside(fd, CLONE_NEWNET, [&]() -> Result<> {
    network.loopback_up = TRY(sees_loopback_up());
    state = TRY(describe());
    return {};
  }));
  for (bool assigned : {false, true}) {
    std::set<std::string> expected;
    TRY(inside(TRY(make_fresh()).get(), CLONE_NEWNET, [&]() -> Result<> {
      if (network.loopback_up) TRY(raise_loopback(assigned));
      expected = TRY(describe());
      return {};
    }));
    std::string surplus = readable(first_difference(state, expected));
    if (!assigned) network.surplus = surplus;
    if (surplus.empty()) {
      network.loopback_assigned = assigned;
      network.surplus.clear();
      break;
    }
    if (!network.loopback_up) break;
  }
  return network;
}

Result<bool> loopback_is_up(int fd) {
  bool up = false;
  TRY(inside(fd, CLONE_NEWNET, [&]() -> Result<> {
    up = TRY(sees_loopback_up());
    return {};
  }));
  return up;
}

Result<> bring_loopback_up(int fd, bool assigned) {
  return inside(fd, CLONE_NEWNET, [&] { return raise_loopback(assigned); });
}

}  // namespace ks::engine
