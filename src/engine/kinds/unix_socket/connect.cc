// SPDX-License-Identifier: LGPL-2.1-or-later
// What can be done only when all files are there, since any of them may be in flight: what has been received is sent
// again. Then sockets get what would stand in its way: whom their datagrams go to, options, filters, ends.
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <vector>

#include "engine/context/socket_state.h"
#include "engine/kinds/unix_socket/places.h"
#include "engine/kinds/unix_socket/records.h"
#include "engine/kinds/unix_socket/unix_socket.h"

namespace ks::engine::unix_socket {

namespace {

using Message = image::UnixSocket::Message;

constexpr size_t kPerMessage = 1024;  // of memory that its sender has to answer for, at the most

// The part of a message that is no data.
class Control {
 public:
  Result<> add(const Restoring& restoring, const Message& message) {
    if (message.has_credentials()) {
      const auto& who = message.credentials();
      ucred credentials{.pid = who.pid(), .uid = who.user(), .gid = who.group()};
      put(SCM_CREDENTIALS, &credentials, sizeof credentials);
    }
    if (message.files().empty()) return {};
    std::vector<int> files;
    for (uint32_t file : message.files()) files.push_back(TRY(restoring.open_file(file)));
    put(SCM_RIGHTS, files.data(), files.size() * sizeof(int));
    return {};
  }
  void* data() { return bytes_.empty() ? nullptr : bytes_.data(); }
  size_t size() const { return bytes_.size(); }

 private:
  void put(int type, const void* data, size_t length) {
    size_t at = bytes_.size();
    bytes_.resize(at + CMSG_SPACE(length));
    cmsghdr head{.cmsg_len = CMSG_LEN(length), .cmsg_level = SOL_SOCKET, .cmsg_type = type};
    std::memcpy(bytes_.data() + at, &head, sizeof head);
    std::memcpy(bytes_.data() + at + CMSG_LEN(0), data, length);
  }
  std::vector<char> bytes_;  // of a vector the memory is aligned for anything
};

class Connecting {
 public:
  Connecting(Restoring& restoring, Records all) : restoring_(restoring), all_(std::move(all)) {}

  Result<> connect() {
    for (const auto& [id, record] : all_) TRY(in(record.label(), send_queue(record)));
    restoring_.far_ends.clear();  // now they are closed
    for (const auto& [id, record] : all_) TRY(in(record.label(), direct_datagrams(record)));
    restoring_.doors.clear();
    for (const auto& [id, record] : all_) {
      if (!record.socket.passed()) TRY(in(record.label(), apply_socket_state(fd_of(id), record.state)));
      TRY(in(record.label(), shut_down(record)));
    }
    return {};
  }

 private:
  // How a message comes to its receiver: from a socket, and to a name where that socket is not connected to it.
  struct Way {
    int from = -1;
    std::string to;
  };

  int fd_of(uint32_t id) const { return restoring_.open_files.at(id).get(); }

  std::string way_to(const Record& receiver) const {
    auto door = restoring_.doors.find(receiver.socket.id());
    return door == restoring_.doors.end() ? receiver.socket.name() : way_through(door->second.get());
  }

  Result<> send_queue(const Record& record) {
    const auto& queue = record.socket.queue();
    size_t room = 0;
    for (const auto& message : queue) room += message.bytes().size() + kPerMessage;
    std::map<std::string, Fd> strangers;
    for (const auto& message : queue) {
      Way way = TRY(find_way(record, message, strangers));
      TRY(with_wide_buffers(way.from, room, 0, [&] { return send(way, message); }));
    }
    return {};
  }

  // `strangers`: senders that have gone, or that cannot be told from them, by name.
  Result<Way> find_way(const Record& receiver, const Message& message, std::map<std::string, Fd>& strangers) {
    const auto& socket = receiver.socket;
    if (auto far = restoring_.far_ends.find(socket.id()); far != restoring_.far_ends.end())
      return Way{far->second.get(), ""};
    if (is_half(all_, receiver)) return Way{TRY(restoring_.open_file(socket.peer())), ""};
    // Nobody leads anywhere yet.
    if (is_abstract(message.sender())) {
      auto sender =
          std::ranges::find_if(all_, [&](const auto& one) { return one.second.socket.name() == message.sender(); });
      if (sender == all_.end()) return fail("a sender of its datagrams is missing in the image");
      return Way{fd_of(sender->first), way_to(receiver)};
    }
    Fd& stranger = strangers[message.sender()];
    if (!stranger) {
      stranger = TRY(make_socket(type_of(receiver.state)));
      if (!message.sender().empty()) TRY(bind_to_name(stranger.get(), message.sender()));
    }
    return Way{stranger.get(), way_to(receiver)};
  }

  Result<> send(Way& way, const Message& message) const {
    Control control;
    TRY(control.add(restoring_, message));
    iovec data{const_cast<char*>(message.bytes().data()), message.bytes().size()};
    msghdr header{.msg_name = way.to.empty() ? nullptr : way.to.data(),
                  .msg_namelen = size_of(way.to),
                  .msg_iov = &data,
                  .msg_iovlen = 1,
                  .msg_control = control.data(),
                  .msg_controllen = control.size(),
                  .msg_flags = 0};
    ssize_t sent = ::sendmsg(way.from, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) return fail_errno("sendmsg");
    return sent == static_cast<ssize_t>(message.bytes().size()) ? Result<>() : fail("takes back less than it held");
  }

  Result<> direct_datagrams(const Record& record) {
    const auto& socket = record.socket;
    if (!record.has_datagrams() || !socket.connected() || is_half(all_, record)) return {};
    int fd = fd_of(socket.id());
    if (!socket.peer_name().empty()) {
      // Who logs to a socket that is not there finds its message refused, and connects again.
      const std::string& name = socket.peer_name();
      (void)in_directory(restoring_.root.get(), "/", [&]() -> Result<> {
        return ::connect(fd, as_address(name), size_of(name)) ? fail_errno("connect") : Result<>();
      });
      return {};
    }
    auto peer = all_.find(socket.peer());
    if (peer == all_.end()) return fail("its peer is missing in the image");
    std::string to = way_to(peer->second);
    return ::connect(fd, as_address(to), size_of(to)) ? fail_errno("connect") : Result<>();
  }

  Result<> shut_down(const Record& record) const {
    constexpr uint32_t kReceives = 1, kSends = 2;
    uint32_t off = record.socket.shutdown();
    if (!off || record.socket.peer_is_gone()) return {};
    // That one end of a connection does not send makes the other one not receive, and the other way round.
    if (!record.has_datagrams() && !record.socket.waits()) off &= kSends;
    int how = off == (kReceives | kSends) ? SHUT_RDWR : off == kReceives ? SHUT_RD : SHUT_WR;
    if (off && ::shutdown(fd_of(record.socket.id()), how)) return fail_errno("shutdown");
    return {};
  }

  Restoring& restoring_;
  Records all_;
};

}  // namespace

Result<> connect(Restoring& restoring, std::span<const Envelope> envelopes) {
  return Connecting(restoring, TRY(read_records(envelopes))).connect();
}

}  // namespace ks::engine::unix_socket
