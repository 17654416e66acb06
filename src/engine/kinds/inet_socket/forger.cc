// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kinds/inet_socket/forger.h"

#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <sys/socket.h>

#include <cstring>

#include "engine/context/own_packets.h"
#include "engine/kernel/socket.h"
#include "engine/kinds/inet_socket/address.h"

namespace ks::engine::inet_socket {

namespace {

constexpr uint8_t kFarthest = 255;  // of hops: who asks for a least number (IP_MINTTL) has it

// The sum of RFC 1071, of which what is sent is the complement.
class Checksum {
 public:
  // Of an even number, but for the last ones.
  void add(std::string_view bytes) {
    for (size_t i = 0; i < bytes.size(); ++i) {
      auto byte = static_cast<uint8_t>(bytes[i]);
      sum_ += i % 2 ? byte : byte << 8;
    }
  }
  // In network order; 0 stands for none.
  uint16_t value() const {
    uint64_t sum = sum_;
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    auto sent = static_cast<uint16_t>(~sum);
    return htons(sent ? sent : 0xffff);
  }

 private:
  uint64_t sum_ = 0;
};

// Addresses, length and protocol are summed up too.
void fill_in_sum(std::string_view addresses, uint8_t protocol, std::string& body, size_t at) {
  Checksum sum;
  sum.add(addresses);
  sum.add(bytes_of(htons(static_cast<uint16_t>(body.size()))) + bytes_of(htons(protocol)) + body);
  uint16_t value = sum.value();
  std::memcpy(&body[at], &value, sizeof value);
}

in_addr address4(const std::string& address) {
  if (as<sockaddr>(address).sa_family == AF_INET) return as<sockaddr_in>(address).sin_addr;
  auto six = as<sockaddr_in6>(address);
  in_addr mapped;
  std::memcpy(&mapped, &six.sin6_addr.s6_addr[12], sizeof mapped);
  return mapped;
}

template <class Address>
Result<> send_to(const Fd& fd, const std::string& packet, const Address& to) {
  if (::sendto(fd.get(), packet.data(), packet.size(), 0, reinterpret_cast<const sockaddr*>(&to), sizeof to) < 0)
    return fail_errno("raw socket");
  return {};
}

}  // namespace

Result<Forger> Forger::make() {
  Forger forger;
  forger.four_ = TRY(make_socket({AF_INET, SOCK_RAW, IPPROTO_RAW}));
  TRY(set_number(forger.four_.get(), SOL_SOCKET, SO_MARK, kOwnPackets));
  auto six = make_socket({AF_INET6, SOCK_RAW, IPPROTO_RAW});
  if (!six) return forger;
  TRY(set_number(six->get(), SOL_SOCKET, SO_MARK, kOwnPackets));
  forger.six_ = *std::move(six);
  return forger;
}

Result<> Forger::send(const std::string& from, const std::string& to, uint8_t protocol, std::string body,
                      size_t sum_at) const {
  bool four = as<sockaddr>(from).sa_family == AF_INET || is_mapped(from);
  return four ? send4(from, to, protocol, std::move(body), sum_at)
              : send6(from, to, protocol, std::move(body), sum_at);
}

// The kernel fills in the sum of the packet.
Result<> Forger::send4(const std::string& from, const std::string& to, uint8_t protocol, std::string body,
                       size_t sum_at) const {
  iphdr packet{};
  packet.version = 4;
  packet.ihl = sizeof packet / 4;
  packet.ttl = kFarthest;
  packet.protocol = protocol;
  packet.saddr = address4(from).s_addr;
  packet.daddr = address4(to).s_addr;
  fill_in_sum(bytes_of(packet.saddr) + bytes_of(packet.daddr), protocol, body, sum_at);
  return send_to(four_, bytes_of(packet) + body,
                 sockaddr_in{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}});
}

Result<> Forger::send6(const std::string& from, const std::string& to, uint8_t protocol, std::string body,
                       size_t sum_at) const {
  if (!six_) return fail("no IPv6");
  ip6_hdr packet{};
  packet.ip6_flow = htonl(6u << 28);
  packet.ip6_plen = htons(static_cast<uint16_t>(body.size()));
  packet.ip6_nxt = protocol;
  packet.ip6_hlim = kFarthest;
  packet.ip6_src = as<sockaddr_in6>(from).sin6_addr;
  packet.ip6_dst = as<sockaddr_in6>(to).sin6_addr;
  fill_in_sum(bytes_of(packet.ip6_src) + bytes_of(packet.ip6_dst), protocol, body, sum_at);
  return send_to(six_, bytes_of(packet) + body,
                 sockaddr_in6{.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT});
}

}  // namespace ks::engine::inet_socket
