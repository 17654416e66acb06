// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/unix_diag.h"

#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cstring>
#include <span>

#include "engine/kernel/netlink.h"
#include "engine/kernel/sock_diag.h"

namespace ks::engine {

namespace {

void take(UnixSocketFacts& facts, uint16_t type, std::span<const std::byte> payload) {
  switch (type) {
    case UNIX_DIAG_PEER:
      facts.peer = head_of<uint32_t>(payload);
      break;
    case UNIX_DIAG_VFS: {
      auto file = head_of<unix_diag_vfs>(payload);
      facts.file = UnixSocketFacts::File{file.udiag_vfs_ino, file.udiag_vfs_dev};
      break;
    }
    case UNIX_DIAG_NAME:
      if (payload.empty() || payload.front() != std::byte{0}) break;
      facts.name.assign(reinterpret_cast<const char*>(payload.data()), payload.size());
      break;
    case UNIX_DIAG_ICONS:
      facts.waiting.resize(payload.size() / sizeof(uint32_t));
      std::memcpy(facts.waiting.data(), payload.data(), facts.waiting.size() * sizeof(uint32_t));
      break;
    case UNIX_DIAG_RQLEN: {
      auto queues = head_of<unix_diag_rqlen>(payload);
      if (facts.listens)
        facts.backlog = static_cast<int>(queues.udiag_wqueue);
      else
        facts.unread = queues.udiag_wqueue;
      break;
    }
    case UNIX_DIAG_SHUTDOWN:
      facts.shutdown = head_of<uint8_t>(payload);
      break;
  }
}

void add(UnixSocketTable& table, std::span<const std::byte> answer) {
  auto head = head_of<unix_diag_msg>(answer);
  UnixSocketFacts facts{.listens = head.udiag_state == TCP_LISTEN};
  if (answer.size() >= sizeof head)
    each_attribute(answer.subspan(sizeof head), [&](uint16_t type, auto payload) { take(facts, type, payload); });
  table.insert_or_assign(head.udiag_ino, std::move(facts));
}

}  // namespace

Result<UnixSocketTable> read_unix_sockets() {
  unix_diag_req request{
      .sdiag_family = AF_UNIX,
      .sdiag_protocol = 0,
      .pad = 0,
      .udiag_states = ~0u,
      .udiag_ino = 0,
      .udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_VFS | UDIAG_SHOW_PEER | UDIAG_SHOW_ICONS | UDIAG_SHOW_RQLEN,
      .udiag_cookie = {~0u, ~0u}};
  UnixSocketTable table;
  TRY(ask_sock_diag(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, std::as_bytes(std::span(&request, 1)),
                    [&](auto answer) { add(table, answer); }));
  return table;
}

}  // namespace ks::engine
