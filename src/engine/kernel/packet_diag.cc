// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/packet_diag.h"

#include <linux/netlink.h>
#include <linux/packet_diag.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>

#include "engine/kernel/netlink.h"
#include "engine/kernel/sock_diag.h"

namespace ks::engine {

namespace {

void take_attribute(PacketFacts& facts, uint16_t type, std::span<const std::byte> value) {
  switch (type) {
    case PACKET_DIAG_INFO:
      facts.copy_threshold = head_of<packet_diag_info>(value).pdi_copy_thresh;
      break;
    case PACKET_DIAG_MCLIST:
      for (; value.size() >= sizeof(packet_diag_mclist); value = value.subspan(sizeof(packet_diag_mclist))) {
        auto told = head_of<packet_diag_mclist>(value);
        size_t bytes = std::min<size_t>(told.pdmc_alen, sizeof told.pdmc_addr);
        facts.memberships.push_back({.interface = told.pdmc_index,
                                     .count = told.pdmc_count,
                                     .type = told.pdmc_type,
                                     .address = {reinterpret_cast<const char*>(told.pdmc_addr), bytes}});
      }
      break;
    case PACKET_DIAG_RX_RING:
    case PACKET_DIAG_TX_RING:
      facts.has_ring = true;
      break;
    case PACKET_DIAG_FANOUT:
      facts.has_fanout = true;
      break;
    default:
      break;
  }
}

}  // namespace

Result<std::map<uint32_t, PacketFacts>> packet_sockets() {
  packet_diag_req request{
      .sdiag_family = AF_PACKET,
      .sdiag_protocol = 0,
      .pad = 0,
      .pdiag_ino = 0,
      .pdiag_show = PACKET_SHOW_INFO | PACKET_SHOW_MCLIST | PACKET_SHOW_RING_CFG | PACKET_SHOW_FANOUT,
      .pdiag_cookie = {}};
  std::map<uint32_t, PacketFacts> sockets;
  auto take = [&](std::span<const std::byte> answer) {
    auto told = head_of<packet_diag_msg>(answer);
    PacketFacts& facts = sockets[told.pdiag_ino];
    each_attribute(answer.subspan(std::min(answer.size(), sizeof told)),
                   [&](uint16_t type, auto value) { take_attribute(facts, type, value); });
  };
  TRY(ask_sock_diag(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, std::as_bytes(std::span(&request, 1)), take));
  return sockets;
}

}  // namespace ks::engine
