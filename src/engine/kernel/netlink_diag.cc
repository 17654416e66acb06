// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/netlink_diag.h"

#include <linux/netlink.h>
#include <linux/netlink_diag.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>

#include "engine/kernel/netlink.h"
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
    auto told = head_of<netlink_diag_msg>(answer);
    NetlinkFacts& facts = sockets[told.ndiag_ino];
    facts.port = told.ndiag_portid;
    facts.connected = told.ndiag_state == kConnected;
    facts.peer_port = told.ndiag_dst_portid;
    facts.peer_group = told.ndiag_dst_group;
    each_attribute(answer.subspan(std::min(answer.size(), sizeof told)), [&](uint16_t type, auto value) {
      if (type == NETLINK_DIAG_FLAGS) facts.answering = head_of<uint32_t>(value) & NDIAG_FLAG_CB_RUNNING;
    });
  };
  TRY(ask_sock_diag(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, std::as_bytes(std::span(&request, 1)), take));
  return sockets;
}

}  // namespace ks::engine
