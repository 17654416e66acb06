// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/unix_diag.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cstring>
#include <span>

#include "base/fd.h"

namespace ks::engine {

namespace {

struct Request {
  nlmsghdr header{};
  unix_diag_req body{};
};

template <class Value>
Value value_of(std::span<const char> payload) {
  Value value{};
  std::memcpy(&value, payload.data(), std::min(payload.size(), sizeof value));
  return value;
}

void take(UnixSocketFacts& facts, uint16_t type, std::span<const char> payload) {
  switch (type) {
    case UNIX_DIAG_PEER:
      facts.peer = value_of<uint32_t>(payload);
      break;
    case UNIX_DIAG_VFS: {
      auto file = value_of<unix_diag_vfs>(payload);
      facts.file = UnixSocketFacts::File{file.udiag_vfs_ino, file.udiag_vfs_dev};
      break;
    }
    case UNIX_DIAG_ICONS:
      facts.waiting.resize(payload.size() / sizeof(uint32_t));
      std::memcpy(facts.waiting.data(), payload.data(), facts.waiting.size() * sizeof(uint32_t));
      break;
    case UNIX_DIAG_RQLEN: {
      auto queues = value_of<unix_diag_rqlen>(payload);
      if (facts.listens)
        facts.backlog = static_cast<int>(queues.udiag_wqueue);
      else
        facts.unread = queues.udiag_wqueue;
      break;
    }
    case UNIX_DIAG_SHUTDOWN:
      facts.shutdown = value_of<uint8_t>(payload);
      break;
  }
}

void add(UnixSocketTable& table, const nlmsghdr* message) {
  auto* body = static_cast<const unix_diag_msg*>(NLMSG_DATA(message));
  UnixSocketFacts facts{.listens = body->udiag_state == TCP_LISTEN};
  auto left = static_cast<unsigned>(message->nlmsg_len - NLMSG_LENGTH(sizeof *body));
  for (auto* at = reinterpret_cast<const rtattr*>(body + 1); RTA_OK(at, left); at = RTA_NEXT(at, left))
    take(facts, at->rta_type, {static_cast<const char*>(RTA_DATA(at)), RTA_PAYLOAD(at)});
  table.insert_or_assign(body->udiag_ino, std::move(facts));
}

// Whether these were the last ones.
Result<bool> add_all(UnixSocketTable& table, std::span<const char> messages) {
  auto left = static_cast<unsigned>(messages.size());
  for (auto* at = reinterpret_cast<const nlmsghdr*>(messages.data()); NLMSG_OK(at, left); at = NLMSG_NEXT(at, left)) {
    int error = 0;
    switch (at->nlmsg_type) {
      case NLMSG_DONE:
        return true;
      case NLMSG_ERROR:
        error = -static_cast<const nlmsgerr*>(NLMSG_DATA(at))->error;
        return fail_errno("sock_diag", error);
      default:
        add(table, at);
    }
  }
  return false;
}

}  // namespace

Result<UnixSocketTable> read_unix_sockets() {
  Fd netlink(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!netlink) return fail_errno("sock_diag");
  Request request;
  request.header = {
      .nlmsg_len = sizeof request, .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP};
  request.body = {.sdiag_family = AF_UNIX,
                  .sdiag_protocol = 0,
                  .pad = 0,
                  .udiag_states = ~0u,
                  .udiag_ino = 0,
                  .udiag_show = UDIAG_SHOW_VFS | UDIAG_SHOW_PEER | UDIAG_SHOW_ICONS | UDIAG_SHOW_RQLEN,
                  .udiag_cookie = {~0u, ~0u}};
  if (::send(netlink.get(), &request, sizeof request, 0) < 0) return fail_errno("sock_diag");
  UnixSocketTable table;
  std::vector<char> buffer(size_t{1} << 18);
  for (;;) {
    ssize_t got = ::recv(netlink.get(), buffer.data(), buffer.size(), MSG_TRUNC);
    if (got < 0) return fail_errno("sock_diag");
    if (static_cast<size_t>(got) > buffer.size()) return fail("sock_diag: an answer that is too long");
    if (TRY(add_all(table, {buffer.data(), static_cast<size_t>(got)}))) return table;
  }
}

}  // namespace ks::engine
