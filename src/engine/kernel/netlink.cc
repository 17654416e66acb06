// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/netlink.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
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

}  // namespace

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

}  // namespace ks::engine
