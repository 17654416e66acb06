// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/sock_diag.h"

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <vector>

#include "base/fd.h"
#include "engine/kernel/socket.h"

namespace ks::engine {

namespace {

constexpr const char* kName = "netlink";
constexpr size_t kMostAtOnce = 32768;  // of answers that the kernel puts together

struct Answers {
  std::vector<std::vector<std::byte>> bodies;
  bool interrupted = false;  // what is listed has changed meanwhile: something may be missing
};

// Whether it was the last one.
Result<bool> take_message(const nlmsghdr& header, std::span<const std::byte> body, Answers& out) {
  if (header.nlmsg_flags & NLM_F_DUMP_INTR) out.interrupted = true;
  if (header.nlmsg_type == NLMSG_DONE) {
    // Of a list that has failed, for which no other message has room.
    int code = head_of<int>(body);
    return code < 0 ? Result<bool>(fail_errno(kName, -code)) : true;
  }
  if (header.nlmsg_type == NLMSG_ERROR) {
    int code = head_of<nlmsgerr>(body).error;
    return code ? Result<bool>(fail_errno(kName, -code)) : true;
  }
  out.bodies.emplace_back(body.begin(), body.end());
  return !(header.nlmsg_flags & NLM_F_MULTI);
}

Result<Answers> ask(int protocol, uint16_t type, uint16_t flags, std::span<const std::byte> body) {
  Fd netlink = TRY(in(kName, make_socket({AF_NETLINK, SOCK_RAW, protocol})));
  std::vector<std::byte> request(NLMSG_LENGTH(body.size()));
  nlmsghdr header{.nlmsg_len = static_cast<uint32_t>(request.size()),
                  .nlmsg_type = type,
                  .nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags),
                  .nlmsg_seq = 1,
                  .nlmsg_pid = 0};
  std::memcpy(request.data(), &header, sizeof header);
  std::memcpy(request.data() + NLMSG_HDRLEN, body.data(), body.size());
  if (::send(netlink.get(), request.data(), request.size(), 0) < 0) return fail_errno(kName);
  std::vector<std::byte> buffer(kMostAtOnce);
  for (Answers answers;;) {
    ssize_t got = ::recv(netlink.get(), buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return fail_errno(kName);
    auto left = static_cast<size_t>(got);
    for (auto* at = reinterpret_cast<nlmsghdr*>(buffer.data()); NLMSG_OK(at, left); at = NLMSG_NEXT(at, left)) {
      std::span<const std::byte> payload(static_cast<std::byte*>(NLMSG_DATA(at)), at->nlmsg_len - NLMSG_HDRLEN);
      if (TRY(take_message(*at, payload, answers))) return answers;
    }
  }
}

// The address as sock_diag(7) wants it, that of IPv4 in the first word. Returns the port.
uint16_t put_end(const sockaddr_storage& end, uint32_t (&words)[4]) {
  if (end.ss_family == AF_INET) {
    sockaddr_in in;
    std::memcpy(&in, &end, sizeof in);
    words[0] = in.sin_addr.s_addr;
    return in.sin_port;
  }
  sockaddr_in6 in;
  std::memcpy(&in, &end, sizeof in);
  std::memcpy(words, &in.sin6_addr, sizeof words);
  return in.sin6_port;
}

Result<inet_diag_req_v2> request_for(int fd) {
  sockaddr_storage local{}, peer{};
  socklen_t length = sizeof local, peer_length = sizeof peer;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&local), &length) ||
      ::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &peer_length))
    return fail_errno("address");
  uint64_t cookie = 0;
  length = sizeof cookie;
  if (::getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length)) return fail_errno("SO_COOKIE");
  inet_diag_req_v2 request{.sdiag_family = static_cast<uint8_t>(local.ss_family),
                           .sdiag_protocol = IPPROTO_TCP,
                           .idiag_ext = 0,
                           .pad = 0,
                           .idiag_states = ~0u,
                           .id = {}};
  auto& id = request.id;
  id.idiag_sport = put_end(local, id.idiag_src);
  id.idiag_dport = put_end(peer, id.idiag_dst);
  id.idiag_if = static_cast<uint32_t>(TRY(read_number(fd, SOL_SOCKET, SO_BINDTOIFINDEX)));
  id.idiag_cookie[0] = static_cast<uint32_t>(cookie);
  id.idiag_cookie[1] = static_cast<uint32_t>(cookie >> 32);
  return request;
}

}  // namespace

Result<> ask_sock_diag(uint16_t type, uint16_t flags, std::span<const std::byte> body,
                       const std::function<void(std::span<const std::byte>)>& take) {
  return in("sock_diag", ask_netlink(NETLINK_SOCK_DIAG, type, flags, body, take));
}

Result<> ask_netlink(int protocol, uint16_t type, uint16_t flags, std::span<const std::byte> body,
                     const std::function<void(std::span<const std::byte>)>& take) {
  constexpr int kTimes = 20;
  for (int i = 0; i < kTimes; ++i) {
    Answers answers = TRY(ask(protocol, type, flags, body));
    if (answers.interrupted) continue;
    for (const auto& answer : answers.bodies) take(answer);
    return {};
  }
  return fail("netlink: what is listed does not come to rest", EAGAIN);
}

void each_attribute(std::span<const std::byte> attributes,
                    const std::function<void(uint16_t, std::span<const std::byte>)>& take) {
  while (attributes.size() >= sizeof(rtattr)) {
    auto head = head_of<rtattr>(attributes);
    if (head.rta_len < sizeof head || head.rta_len > attributes.size()) return;
    take(head.rta_type, attributes.subspan(RTA_LENGTH(0), head.rta_len - RTA_LENGTH(0)));
    attributes = attributes.subspan(std::min<size_t>(attributes.size(), RTA_ALIGN(head.rta_len)));
  }
}

Result<uint32_t> bytes_received(int fd) {
  auto request = TRY(request_for(fd));
  uint32_t bytes = 0;
  TRY(ask_sock_diag(SOCK_DIAG_BY_FAMILY, 0, std::as_bytes(std::span(&request, 1)),
                    [&](auto answer) { bytes = head_of<inet_diag_msg>(answer).idiag_rqueue; }));
  return bytes;
}

Result<> abort_connection(int fd) {
  auto request = TRY(request_for(fd));
  return in("SOCK_DESTROY",
            ask_sock_diag(SOCK_DESTROY, NLM_F_ACK, std::as_bytes(std::span(&request, 1)), [](auto) {}));
}

}  // namespace ks::engine
