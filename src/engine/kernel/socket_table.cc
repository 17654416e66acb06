// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/socket_table.h"

#include <netinet/in.h>

#include <cstring>
#include <optional>

#include "base/file.h"
#include "base/text.h"

namespace ks::engine {

namespace {

template <class Address>
std::string bytes_of(const Address& address) {
  return {reinterpret_cast<const char*>(&address), sizeof address};
}

// "0F02000A:18EB": the address in words, each a number in this machine's order.
std::optional<std::string> parse_end(std::string_view text) {
  std::string_view digits = take_until(text, ':');
  auto port = parse_number<uint16_t>(text, 16);
  uint32_t words[4];
  if (!port || (digits.size() != 8 && digits.size() != 32)) return std::nullopt;
  for (size_t i = 0; i < digits.size() / 8; ++i)
    if (!read_number(digits.substr(8 * i, 8), words[i], 16)) return std::nullopt;
  if (digits.size() == 8)
    return bytes_of(sockaddr_in{.sin_family = AF_INET, .sin_port = htons(*port), .sin_addr = {words[0]}});
  sockaddr_in6 in{.sin6_family = AF_INET6, .sin6_port = htons(*port)};
  std::memcpy(&in.sin6_addr, words, sizeof in.sin6_addr);
  return bytes_of(in);
}

const char* name_of(int protocol) {
  switch (protocol) {
    case IPPROTO_TCP:
      return "tcp";
    case IPPROTO_UDP:
      return "udp";
    case IPPROTO_UDPLITE:
      return "udplite";
    case IPPROTO_ICMP:
      return "icmp";
    default:
      return "raw";
  }
}

}  // namespace

std::vector<SocketEntry> parse_socket_table(std::string_view text) {
  std::vector<SocketEntry> entries;
  for (std::string_view line : split(text, '\n')) {
    // "sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode ..."
    auto words = split_words(line);
    if (words.size() < 10) continue;
    std::string_view unread = words[4];
    take_until(unread, ':');
    auto local = parse_end(words[1]), peer = parse_end(words[2]);
    SocketEntry entry;
    if (!local || !peer || !read_number(words[3], entry.state, 16) || !read_number(unread, entry.unread, 16) ||
        !read_number(words[9], entry.inode))
      continue;
    entry.local = *std::move(local);
    entry.peer = *std::move(peer);
    entries.push_back(std::move(entry));
  }
  return entries;
}

Result<std::vector<SocketEntry>> read_socket_table(int protocol) {
  std::string path = std::string("/proc/net/") + name_of(protocol);
  auto four = read_file(path);
  if (!four && four.error().code == ENOENT && protocol == IPPROTO_UDPLITE) return std::vector<SocketEntry>();
  std::vector<SocketEntry> all = parse_socket_table(TRY(std::move(four)));
  auto text = read_file(path + "6");
  if (!text) return all;  // a machine without IPv6
  for (SocketEntry& entry : parse_socket_table(*text)) all.push_back(std::move(entry));
  return all;
}

}  // namespace ks::engine
