// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/hold/held_socket.h"

#include <arpa/inet.h>
#include <fmt/core.h>
#include <netinet/in.h>

#include <algorithm>
#include <utility>

#include "base/text.h"

namespace ks::upgrade {

namespace {

template <class Address>
Result<Address> as(std::string_view bytes) {
  if (bytes.size() < sizeof(Address)) return fail("an address is cut short");
  Address address{};
  std::ranges::copy(bytes.substr(0, sizeof address), reinterpret_cast<char*>(&address));
  return address;
}

std::string text_of(int family, const void* address, in_port_t port) {
  char text[INET6_ADDRSTRLEN] = "";
  ::inet_ntop(family, address, text, sizeof text);
  return fmt::format(" {} {}", text, ntohs(port));
}

Result<std::string> end_text(std::string_view bytes) {
  sa_family_t family = TRY(as<sa_family_t>(bytes));
  if (family == AF_INET) {
    auto in = TRY(as<sockaddr_in>(bytes));
    return text_of(AF_INET, &in.sin_addr, in.sin_port);
  }
  if (family != AF_INET6) return fail(fmt::format("an address of family {}", family));
  auto in = TRY(as<sockaddr_in6>(bytes));
  if (!IN6_IS_ADDR_V4MAPPED(&in.sin6_addr)) return text_of(AF_INET6, &in.sin6_addr, in.sin6_port);
  return text_of(AF_INET, &in.sin6_addr.s6_addr[12], in.sin6_port);
}

Result<HeldSocket::End> parse_end(int family, std::string_view address, std::string_view port) {
  in6_addr bytes{};
  if (::inet_pton(family, std::string(address).c_str(), &bytes) != 1)
    return fail(fmt::format("no address: {}", address));
  auto number = parse_number<uint16_t>(port);
  if (!number) return fail(fmt::format("no port: {}", port));
  return HeldSocket::End{std::string(address), *number, IN6_IS_ADDR_UNSPECIFIED(&bytes) != 0};
}

constexpr std::pair<int, std::string_view> kProtocols[] = {
    {IPPROTO_TCP, "tcp"}, {IPPROTO_UDP, "udp"}, {IPPROTO_UDPLITE, "udplite"}};
std::string_view name_of(int protocol) {
  auto found = std::ranges::find(kProtocols, protocol, &std::pair<int, std::string_view>::first);
  return found == std::end(kProtocols) ? "udp" : found->second;
}
bool is_known(std::string_view protocol) {
  return std::ranges::any_of(kProtocols, [&](const auto& known) { return known.second == protocol; });
}

int family_of(std::string_view address) { return address.find(':') == std::string_view::npos ? AF_INET : AF_INET6; }

}  // namespace

Result<std::string> to_text(const engine::NetworkSocket& socket) {
  std::string text(name_of(socket.protocol));
  text += TRY(end_text(socket.local));
  if (!socket.peer.empty()) text += TRY(end_text(socket.peer));
  return text;
}

Result<std::vector<std::string>> to_lines(std::span<const engine::NetworkSocket> sockets) {
  std::vector<std::string> lines;
  lines.reserve(sockets.size());
  for (const engine::NetworkSocket& socket : sockets) lines.push_back(TRY(to_text(socket)));
  return lines;
}

Result<HeldSocket> parse_held_socket(std::string_view line) {
  auto words = split_words(line);
  bool has_peer = words.size() == 5;
  if ((words.size() != 3 && !has_peer) || !is_known(words[0])) return fail(fmt::format("no socket: {}", line));
  HeldSocket socket{.protocol = std::string(words[0]), .family = family_of(words[1])};
  socket.local = TRY(parse_end(socket.family, words[1], words[2]));
  if (!has_peer) return socket;
  if (family_of(words[3]) != socket.family) return fail(fmt::format("ends of two families: {}", line));
  socket.peer = TRY(parse_end(socket.family, words[3], words[4]));
  return socket;
}

SetMember set_member(const HeldSocket& socket) {
  char version = socket.family == AF_INET ? '4' : '6';
  std::string local = fmt::format("{} . {}", socket.local.address, socket.local.port);
  if (socket.peer)  // one that has a peer and is bound to no address does not exist
    return {fmt::format("flows{}", version),
            fmt::format("{} . {} . {} . {}", socket.protocol, local, socket.peer->address, socket.peer->port)};
  if (socket.local.any)
    return {fmt::format("ports{}", version), fmt::format("{} . {}", socket.protocol, socket.local.port)};
  return {fmt::format("bound{}", version), fmt::format("{} . {}", socket.protocol, local)};
}

}  // namespace ks::upgrade
