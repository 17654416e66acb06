// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/netlink_diag.h"

#include <linux/netlink.h>
#include <linux/netlink_diag.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>

#include <cstring>

#include "engine/kernel/sock_diag.h"

namespace ks::engine {

Result<std::map<uint32_t, NetlinkFacts>> netlink_sockets() {
  constexpr uint8_t kConnected = 1;  // NETLINK_CONNECTED (net/netlink/af_netlink.h)
  netlink_diag_req request{.sdiag_family = AF_NETLINK,
                           .sdiag_protocol = NDIAG_PROTO_ALL,
                           .pad = 0,
                           .ndiag_ino = 0,
                           .ndiag_show = NDIAG_SHOW_FLAGS,
                           .ndiag_cookie = {}};
  std::map<uint32_t, NetlinkFacts> sockets;
  auto take = [&](std::span<const std::byte> answer) {
    netlink_diag_msg told{};
    std::memcpy(&told, answer.data(), std::min(answer.size(), sizeof told));
    NetlinkFacts& facts = sockets[told.ndiag_ino];
    facts.port = told.ndiag_portid;
    facts.connected = told.ndiag_state == kConnected;
    facts.peer_port = told.ndiag_dst_portid;
    facts.peer_group = told.ndiag_dst_group;
    for (auto rest = answer.subspan(std::min(answer.size(), sizeof told)); rest.size() >= sizeof(rtattr);) {
      rtattr attribute;
      std::memcpy(&attribute, rest.data(), sizeof attribute);
      if (attribute.rta_len < sizeof attribute || attribute.rta_len > rest.size()) break;
      uint32_t flags = 0;
      std::memcpy(&flags, rest.data() + sizeof attribute,
                  std::min(attribute.rta_len - sizeof attribute, sizeof flags));
      if (attribute.rta_type == NETLINK_DIAG_FLAGS) facts.answering = flags & NDIAG_FLAG_CB_RUNNING;
      rest = rest.subspan(std::min<size_t>(rest.size(), RTA_ALIGN(attribute.rta_len)));
    }
  };
  TRY(ask_sock_diag(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, std::as_bytes(std::span(&request, 1)), take));
  return sockets;
}

}  // namespace ks::engine
