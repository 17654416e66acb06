// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kinds/netlink_socket/generic.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "base/text.h"
#include "engine/kernel/task_statistics.h"

namespace ks::engine::netlink_socket {

namespace {

using Numbers = std::map<std::string, uint32_t>;
using Named = google::protobuf::RepeatedPtrField<image::NetlinkSocket::Number>;

// Those that answer, and speak to groups, and keep nothing of who has asked. Not among them: nl80211, nl802154, nfc,
// MAC80211_HWSIM and those of Open vSwitch, which send to single sockets; and what is not known.
bool keeps_nothing(std::string_view family) {
  constexpr std::array kSuch = {
      "nlctrl",   "VFS_DQUOT", "pmcraid",   "acpi_event",   "thermal",      "ethtool",         "netdev",
      "devlink",  "dpll",      "NLBL_MGMT", "NLBL_CIPSOv4", "NLBL_CALIPSO", "NLBL_UNLBL",      "tcp_metrics",
      "mptcp_pm", "SEG6",      "IOAM6",     "IPVS",         "wireguard",    "macsec",          "l2tp",
      "fou",      "ila",       "gtp",       "team",         "TIPC",         "TIPCv2",          "nbd",
      "batadv",   "hsr",       "psample",   "NET_DM",       "SMC_PNETID",   "SMC_GEN_NETLINK", "TCM-USER",
      "nfsd",     "lockd",     "handshake", "net-shaper",   "vdpa",
  };
  return std::ranges::find(kSuch, family) != kSuch.end();
}

std::string_view family_of(std::string_view group) { return take_until(group, '/'); }

std::string name_of(const Numbers& all, uint32_t number) {
  auto found = std::ranges::find(all, number, [](const auto& entry) { return entry.second; });
  return found == all.end() ? "" : found->first;
}

// Of each task that ends, it can be told alone.
Result<> check_statistics() {
  auto any = has_listeners_to_task_ends();
  if (!any)
    return refuse(
        "is of generic netlink, and may have asked to be told of tasks that end (TASKSTATS), which the kernel does "
        "not "
        "let us see: " +
        any.error().what);
  if (*any)
    return refuse(
        "is of generic netlink, and may be who has asked to be told of tasks that end (TASKSTATS), which is not "
        "supported yet");
  return {};
}

void name_all(const Numbers& numbers, Named& out) {
  for (const auto& [name, number] : numbers) {
    auto* entry = out.Add();
    entry->set_name(name);
    entry->set_number(number);
  }
}

// None that means something else.
Result<> check_meanings(const char* what, const Named& before, const Numbers& now) {
  for (const auto& was : before)
    if (std::string name = name_of(now, was.number()); !name.empty() && name != was.name())
      return fail(fmt::format("generic netlink: {} {} was {}, and is {} under this kernel", what, was.number(),
                              was.name(), name));
  return {};
}

}  // namespace

Result<> describe_generic(const GenericNumbers& numbers, image::NetlinkSocket& out) {
  for (const auto& [family, number] : numbers.families) {
    if (family == "TASKSTATS")
      TRY(check_statistics());
    else if (!keeps_nothing(family))
      return refuse(fmt::format(
          "is of generic netlink, where {} may keep something of it, which is not supported yet", family));
  }
  for (uint32_t group : out.groups()) {
    std::string name = name_of(numbers.groups, group);
    if (name.empty()) return refuse(fmt::format("listens to group {} of generic netlink, which is nobody's", group));
    // Which devices it listens to, a socket may have chosen.
    if (family_of(name) == "devlink") return refuse("listens to " + name + ", which is not supported yet");
    out.add_group_names(std::move(name));
  }
  out.clear_groups();
  name_all(numbers.families, *out.mutable_generic_families());
  name_all(numbers.groups, *out.mutable_generic_groups());
  return {};
}

Result<std::vector<uint32_t>> groups_under(const GenericNumbers& numbers, const image::NetlinkSocket& socket) {
  TRY(check_meanings("family", socket.generic_families(), numbers.families));
  TRY(check_meanings("group", socket.generic_groups(), numbers.groups));
  std::vector<uint32_t> groups;
  for (const std::string& name : socket.group_names()) {
    std::string family(family_of(name));
    auto group = numbers.groups.find(name);
    if (group == numbers.groups.end()) return fail(fmt::format("generic netlink: this kernel has no group {}", name));
    // Messages bear the number of their family.
    auto was = std::ranges::find(socket.generic_families(), family, [](const auto& entry) { return entry.name(); });
    if (was == socket.generic_families().end() || was->number() != numbers.families.at(family))
      return fail(fmt::format("generic netlink: {} has another number under this kernel", family));
    groups.push_back(group->second);
  }
  return groups;
}

void load_families(const image::NetlinkSocket& socket) {
  for (const std::string& name : socket.group_names()) load_generic_family(std::string(family_of(name)));
}

}  // namespace ks::engine::netlink_socket
