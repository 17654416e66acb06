// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kinds/inet_socket/multicast.h"

#include <netinet/in.h>

#include <cstring>
#include <optional>

#include "base/file.h"
#include "base/text.h"
#include "engine/kernel/socket.h"
#include "engine/kinds/inet_socket/address.h"
#include "engine/kinds/inet_socket/interfaces.h"

namespace ks::engine::inet_socket {

namespace {

int level_of(int family) { return family == AF_INET ? SOL_IP : SOL_IPV6; }

// As the kernel prints it: the bytes of an IPv4 address as one number, those of an IPv6 address one after the other.
std::optional<sockaddr_storage> group_address(int family, std::string_view digits) {
  if (family == AF_INET) {
    auto number = parse_number<uint32_t>(digits, 16);
    if (!number) return std::nullopt;
    return as<sockaddr_storage>(bytes_of(sockaddr_in{.sin_family = AF_INET, .sin_addr = {*number}}));
  }
  sockaddr_in6 group{.sin6_family = AF_INET6};
  if (digits.size() != 2 * sizeof group.sin6_addr) return std::nullopt;
  for (size_t i = 0; i < sizeof group.sin6_addr; ++i)
    if (!ks::read_number(digits.substr(2 * i, 2), group.sin6_addr.s6_addr[i], 16)) return std::nullopt;
  return as<sockaddr_storage>(bytes_of(group));
}

// A file that a machine without the family has not.
Result<std::string> read_groups(const char* path) {
  auto text = read_file(path);
  if (!text && text.error().code == ENOENT) return "";
  return text;
}

struct Filter {
  bool only_from_sources = false;
  std::vector<sockaddr_storage> sources;
};

// Nothing where the socket has not joined the group.
Result<std::optional<Filter>> read_filter_of(int fd, int family, const MulticastGroups::Group& group) {
  std::string buffer;
  for (uint32_t room = 0;;) {
    buffer.assign(GROUP_FILTER_SIZE(room), '\0');
    group_filter asked{};
    asked.gf_interface = group.interface;
    asked.gf_group = group.address;
    asked.gf_numsrc = room;
    constexpr size_t kHead = GROUP_FILTER_SIZE(0);
    std::memcpy(buffer.data(), &asked, kHead);
    auto length = static_cast<socklen_t>(buffer.size());
    if (::getsockopt(fd, level_of(family), MCAST_MSFILTER, buffer.data(), &length)) {
      if (errno == EADDRNOTAVAIL) return std::nullopt;
      return fail_errno("MCAST_MSFILTER");
    }
    std::memcpy(&asked, buffer.data(), kHead);
    if (asked.gf_numsrc > room) {
      room = asked.gf_numsrc;
      continue;
    }
    Filter filter{.only_from_sources = asked.gf_fmode == MCAST_INCLUDE, .sources = {}};
    filter.sources.resize(asked.gf_numsrc);
    std::memcpy(filter.sources.data(), buffer.data() + kHead, asked.gf_numsrc * sizeof(sockaddr_storage));
    return filter;
  }
}

// As short as the family wants it.
std::string address_of(const sockaddr_storage& storage) {
  return bytes_of(storage).substr(0, storage.ss_family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6));
}

}  // namespace

std::vector<MulticastGroups::Group> MulticastGroups::parse(int family, std::string_view text) {
  std::vector<Group> groups;
  uint32_t interface = 0;
  for (auto line : split(text, '\n')) {
    auto words = split_words(line);
    std::string_view digits;
    if (family == AF_INET) {
      // "2\teth0      :     1      V3", and below it one line for each group: "\t\t\t\tFB0000E0     1
      // 0:00000000\t\t0"
      if (!line.starts_with('\t') && !words.empty()) interface = parse_number<uint32_t>(words[0]).value_or(0);
      if (line.starts_with('\t') && !words.empty()) digits = words[0];
    } else if (words.size() > 2) {
      // "2    eth0            ff020000000000000000000000000001     1 0000000C 0"
      interface = parse_number<uint32_t>(words[0]).value_or(0);
      digits = words[2];
    }
    if (auto address = digits.empty() || !interface ? std::nullopt : group_address(family, digits))
      groups.push_back({interface, *address});
  }
  return groups;
}

Result<MulticastGroups> MulticastGroups::read() {
  MulticastGroups groups;
  groups.four_ = parse(AF_INET, TRY(read_groups("/proc/net/igmp")));
  groups.six_ = parse(AF_INET6, TRY(read_groups("/proc/net/igmp6")));
  return groups;
}

Result<> MulticastGroups::read_memberships(int fd, int family, image::InetSocket& out) const {
  for (const Group& group : family == AF_INET ? four_ : six_) {
    auto filter = TRY(read_filter_of(fd, family, group));
    if (!filter) continue;
    auto* membership = out.add_memberships();
    membership->set_group(address_of(group.address));
    membership->set_interface(TRY(interface_name(group.interface)));
    membership->set_only_from_sources(filter->only_from_sources);
    for (const auto& source : filter->sources) membership->add_sources(address_of(source));
  }
  return {};
}

Result<> join(int fd, const image::InetSocket::Membership& membership) {
  uint32_t interface = TRY(interface_number(membership.interface()));
  auto group = as<sockaddr_storage>(membership.group());
  int level = level_of(group.ss_family);
  if (!membership.only_from_sources()) {
    group_req request{.gr_interface = interface, .gr_group = group};
    TRY(in("MCAST_JOIN_GROUP", set_option(fd, level, MCAST_JOIN_GROUP, bytes_of(request))));
  }
  int each = membership.only_from_sources() ? MCAST_JOIN_SOURCE_GROUP : MCAST_BLOCK_SOURCE;
  for (const auto& source : membership.sources()) {
    group_source_req request{
        .gsr_interface = interface, .gsr_group = group, .gsr_source = as<sockaddr_storage>(source)};
    TRY(in("sources of a multicast group", set_option(fd, level, each, bytes_of(request))));
  }
  return {};
}

}  // namespace ks::engine::inet_socket
