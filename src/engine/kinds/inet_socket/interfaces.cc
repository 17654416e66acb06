// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kinds/inet_socket/interfaces.h"

#include <fmt/format.h>
#include <net/if.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>

#include "engine/kernel/socket.h"
#include "engine/kinds/inet_socket/address.h"

namespace ks::engine::inet_socket {

namespace {

struct InterfaceOption {
  int level, name;
  bool network_order;
};
constexpr std::array kOptions = {InterfaceOption{SOL_IP, IP_UNICAST_IF, true},
                                 InterfaceOption{SOL_IPV6, IPV6_UNICAST_IF, true},
                                 InterfaceOption{SOL_IPV6, IPV6_MULTICAST_IF, false}};

const InterfaceOption* find(int level, int name) {
  const auto* found =
      std::ranges::find_if(kOptions, [&](auto& one) { return one.level == level && one.name == name; });
  return found == kOptions.end() ? nullptr : found;
}

}  // namespace

Result<std::string> interface_name(uint32_t number) {
  char name[IF_NAMESIZE];
  if (!::if_indextoname(number, name)) return fail_errno(fmt::format("interface {}", number));
  return name;
}

Result<uint32_t> interface_number(const std::string& name) {
  uint32_t number = ::if_nametoindex(name.c_str());
  if (!number) return fail(fmt::format("{}: no such interface", name));
  return number;
}

Result<std::string> scope_of(std::string_view address) {
  uint32_t number = as<sockaddr>(address).sa_family == AF_INET6 ? as<sockaddr_in6>(address).sin6_scope_id : 0;
  return number ? interface_name(number) : "";
}

Result<std::string> address_now(std::string address, const std::string& scope) {
  if (scope.empty() || as<sockaddr>(address).sa_family != AF_INET6) return address;
  auto in = as<sockaddr_in6>(address);
  if (!in.sin6_scope_id) return address;
  in.sin6_scope_id = TRY(interface_number(scope));
  return bytes_of(in);
}

bool names_interface(const image::SocketState::Option& option) { return find(option.level(), option.name()); }

Result<> name_interfaces(const image::SocketState& state, image::InetSocket& out) {
  for (const auto& option : state.options()) {
    const InterfaceOption* known = find(option.level(), option.name());
    if (!known) continue;
    auto number = as<uint32_t>(option.value());
    auto* entry = out.add_interface_options();
    entry->set_level(option.level());
    entry->set_name(option.name());
    entry->set_interface(TRY(interface_name(known->network_order ? ntohl(number) : number)));
  }
  return {};
}

Result<> apply_interfaces(int fd, const image::InetSocket& socket) {
  for (const auto& option : socket.interface_options()) {
    const InterfaceOption* known = find(option.level(), option.name());
    if (!known) return fail("an option that this kernel-swap does not know");
    uint32_t number = TRY(interface_number(option.interface()));
    TRY(set_option(fd, known->level, known->name, bytes_of(known->network_order ? htonl(number) : number)));
  }
  return {};
}

Result<> name_multicast_interface(image::SocketState& state, uint32_t number, image::InetSocket& out) {
  if (!number) return {};
  out.set_multicast_interface(TRY(interface_name(number)));
  auto* options = state.mutable_options();
  for (int i = 0; i < options->size(); ++i) {
    if (options->Get(i).level() != SOL_IP || options->Get(i).name() != IP_MULTICAST_IF) continue;
    out.set_multicast_address(options->Get(i).value());
    options->DeleteSubrange(i, 1);
    return {};
  }
  return {};
}

Result<> apply_multicast_interface(int fd, const image::InetSocket& socket) {
  if (socket.multicast_interface().empty()) return {};
  uint32_t number = TRY(interface_number(socket.multicast_interface()));
  ip_mreqn value{.imr_multiaddr = {},
                 .imr_address = as<in_addr>(socket.multicast_address()),
                 .imr_ifindex = static_cast<int>(number)};
  return in("IP_MULTICAST_IF", set_option(fd, SOL_IP, IP_MULTICAST_IF, bytes_of(value)));
}

}  // namespace ks::engine::inet_socket
