// SPDX-License-Identifier: LGPL-2.1-or-later
// Packet sockets (packet(7)), but for those that share a ring with their program or packets with each other.
#include <fmt/format.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstring>
#include <map>

#include "engine/context/socket_state.h"
#include "engine/kernel/packet_diag.h"
#include "engine/kinds/kind.h"
#include "engine/packet_socket.pb.h"

namespace ks::engine {

namespace {

using Socket = image::PacketSocket;

constexpr std::string_view kName = "packet-socket";
constexpr uint32_t kVersion = 1;

bool owns(const OpenFile& file) {
  return file.socket && file.socket->family == AF_PACKET && file.socket->type != SOCK_PACKET;
}

// Another kernel may give it another number.
Result<std::string> interface_name(uint32_t number) {
  char name[IF_NAMESIZE];
  if (!::if_indextoname(number, name)) return refuse(fmt::format("is bound to interface {}, which is gone", number));
  return name;
}
Result<uint32_t> interface_number(const std::string& name) {
  uint32_t number = ::if_nametoindex(name.c_str());
  if (!number) return fail(fmt::format("{}: no such interface", name));
  return number;
}

Result<> dump_socket(Dumping& dumping, const OpenFile& file, const PacketFacts& facts) {
  Fd mine = TRY(file.fetch());
  if (auto other = TRY(dumping.outside.holder(file.link)))
    return refuse(fmt::format("shared with pid {}, which is not part of it", *other));
  Socket out;
  out.set_id(file.id);
  out.set_state(TRY(read_socket_state(dumping.fresh_sockets, file, mine.get())).SerializeAsString());
  if (facts.has_ring) return refuse("is a packet socket with a ring (PACKET_RX_RING), which is not supported yet");
  if (facts.has_fanout) return refuse("shares packets with others (PACKET_FANOUT), which is not supported yet");
  pollfd poll{.fd = mine.get(), .events = POLLIN, .revents = 0};
  if (::poll(&poll, 1, 0) < 0) return fail_errno("poll");
  if (poll.revents & POLLIN)
    return refuse_for_now("holds packets that nobody has read yet, which is not supported yet");
  sockaddr_ll address{};
  socklen_t length = sizeof address;
  if (::getsockname(mine.get(), reinterpret_cast<sockaddr*>(&address), &length)) return fail_errno("getsockname");
  out.set_protocol(address.sll_protocol);
  if (address.sll_ifindex) out.set_interface(TRY(interface_name(static_cast<uint32_t>(address.sll_ifindex))));
  for (const auto& membership : facts.memberships) {
    auto* entry = out.add_memberships();
    entry->set_interface(TRY(interface_name(membership.interface)));
    entry->set_type(membership.type);
    entry->set_address(membership.address);
    entry->set_count(membership.count);
  }
  out.set_copy_threshold(facts.copy_threshold);
  dumping.put_file(kName, kVersion, out);
  return {};
}

Result<> dump(Dumping& dumping, std::span<const OpenFile> files) {
  auto facts = packet_sockets();
  for (const OpenFile& file : files) {
    Result<> done;
    if (!facts)
      done = refuse("is a packet socket, of which this kernel does not tell (PACKET_DIAG): " + facts.error().what);
    else if (auto known = facts->find(static_cast<uint32_t>(file.stat.st_ino)); known != facts->end())
      done = dump_socket(dumping, file, known->second);
    else
      done = refuse("is of another network namespace than the system's, which is not supported yet");
    TRY(is_done(dumping, file, std::move(done)));
  }
  return {};
}

Result<> join(int fd, const Socket::Membership& membership) {
  packet_mreq request{.mr_ifindex = static_cast<int>(TRY(interface_number(membership.interface()))),
                      .mr_type = static_cast<uint16_t>(membership.type()),
                      .mr_alen = static_cast<uint16_t>(membership.address().size()),
                      .mr_address = {}};
  if (membership.address().size() > sizeof request.mr_address) return fail("an address of hardware that is too long");
  std::memcpy(request.mr_address, membership.address().data(), membership.address().size());
  for (uint32_t i = 0; i < membership.count(); ++i)
    TRY(in("PACKET_ADD_MEMBERSHIP", set_option(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP,
                                               {reinterpret_cast<const char*>(&request), sizeof request})));
  return {};
}

// It receives nothing before all else is in its place.
Result<Fd> make_one(Restoring&, const Socket& socket) {
  Fd fd = TRY(make_socket_from(socket.state()));
  if (socket.copy_threshold())
    TRY(set_number(fd.get(), SOL_PACKET, PACKET_COPY_THRESH, static_cast<int>(socket.copy_threshold())));
  for (const auto& membership : socket.memberships()) TRY(join(fd.get(), membership));
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = static_cast<uint16_t>(socket.protocol());
  if (!socket.interface().empty()) address.sll_ifindex = static_cast<int>(TRY(interface_number(socket.interface())));
  if (!address.sll_protocol && !address.sll_ifindex) return fd;
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address)) return fail_errno("bind");
  return fd;
}

Result<Fds> make(Restoring& restoring, std::span<const Envelope> envelopes) {
  return make_each(restoring, envelopes, make_one);
}

}  // namespace

extern const Kind kPacketSocket;
const Kind kPacketSocket{.name = kName, .version = kVersion, .owns = owns, .dump = dump, .make = make};

}  // namespace ks::engine
