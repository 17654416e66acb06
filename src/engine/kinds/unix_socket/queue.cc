// SPDX-License-Identifier: LGPL-2.1-or-later
// What a UNIX socket has received and nobody has read. MSG_PEEK leaves it where it is and gives us duplicates of
// descriptors in flight; past the first message it looks with SO_PEEK_OFF.
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/file.h"
#include "engine/context/socket_state.h"
#include "engine/kernel/socket.h"
#include "engine/kernel/socket_insides.h"
#include "engine/kinds/unix_socket/unix_socket.h"
#include "engine/target/undisturbed.h"

namespace ks::engine::unix_socket {

namespace {

constexpr int kMostFiles = 253;  // in one message (SCM_MAX_FD)
constexpr int kPidFd = 4;        // SCM_PIDFD, newer than the headers
constexpr size_t kUsualMessage = 65536;

struct Piece {
  std::string bytes, sender;
  std::optional<ucred> credentials;
  std::vector<Fd> files;
};

Result<> take_control(msghdr& message, Piece& piece) {
  bool other = false;
  for (cmsghdr* at = CMSG_FIRSTHDR(&message); at; at = CMSG_NXTHDR(&message, at)) {
    size_t bytes = at->cmsg_len - CMSG_LEN(0);
    bool of_sockets = at->cmsg_level == SOL_SOCKET;
    if (of_sockets && (at->cmsg_type == SCM_RIGHTS || at->cmsg_type == kPidFd)) {
      for (size_t done = 0; done + sizeof(int) <= bytes; done += sizeof(int)) {
        int fd;
        std::memcpy(&fd, CMSG_DATA(at) + done, sizeof fd);
        piece.files.emplace_back(fd);
      }
      other |= at->cmsg_type == kPidFd;
    } else if (of_sockets && at->cmsg_type == SCM_CREDENTIALS && bytes >= sizeof(ucred)) {
      std::memcpy(&piece.credentials.emplace(), CMSG_DATA(at), sizeof(ucred));
    } else {
      other = true;
    }
  }
  if (message.msg_flags & MSG_CTRUNC) return refuse("holds more descriptors in flight than we may have open");
  if (other)
    return refuse_for_now(
        "holds messages with a time, a label or a pidfd of who has sent them, which is not supported yet");
  return {};
}

// At most so many bytes; of a message that is longer, its length. Nothing: there is nothing more.
struct Look {
  Piece piece;
  size_t length = 0;
};
Result<std::optional<Look>> look(int fd, size_t most, int how = MSG_PEEK) {
  Look look{.piece = {.bytes = std::string(most, '\0'), .sender = {}, .credentials = {}, .files = {}}};
  iovec place{look.piece.bytes.data(), most};
  sockaddr_un sender{};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(ucred)) + CMSG_SPACE(kMostFiles * sizeof(int)) + 512];
  msghdr message{.msg_name = &sender,
                 .msg_namelen = sizeof sender,
                 .msg_iov = &place,
                 .msg_iovlen = 1,
                 .msg_control = control,
                 .msg_controllen = sizeof control,
                 .msg_flags = 0};
  ssize_t got = ::recvmsg(fd, &message, how | MSG_TRUNC | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got < 0 && errno == EAGAIN) return std::nullopt;
  if (got < 0) return fail_errno("recvmsg");
  TRY(take_control(message, look.piece));
  look.length = static_cast<size_t>(got);
  look.piece.bytes.resize(std::min(look.length, most));
  if (message.msg_namelen > offsetof(sockaddr_un, sun_path))
    look.piece.sender.assign(reinterpret_cast<const char*>(&sender),
                             std::min<size_t>(message.msg_namelen, sizeof sender));
  return look;
}

// After so many bytes from the first that has not been read.
Result<std::optional<Look>> look_at(int fd, size_t offset, size_t most) {
  TRY(set_number(fd, SOL_SOCKET, SO_PEEK_OFF, static_cast<int>(offset)));
  return look(fd, most);
}

// A look at a stream ends with the bytes that have come with descriptors, but may begin with others: so many. The
// kernel takes all of a piece or nothing, and for its last byte there is no place.
Result<size_t> before_files(int fd, size_t offset, size_t length) {
  TRY(set_number(fd, SOL_SOCKET, SO_PEEK_OFF, static_cast<int>(offset)));
  std::string bytes(length - 1, '\0');
  iovec places[] = {{bytes.data(), bytes.size()}, {nullptr, 1}};
  msghdr message{.msg_name = nullptr,
                 .msg_namelen = 0,
                 .msg_iov = places,
                 .msg_iovlen = 2,
                 .msg_control = nullptr,
                 .msg_controllen = 0,
                 .msg_flags = 0};
  ssize_t got = ::recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT);
  if (got < 0 && errno == EFAULT) return 0;
  if (got < 0) return fail_errno("recvmsg");
  return static_cast<size_t>(got);
}

using Take = std::function<Result<>(Piece)>;

Result<> read_stream(int fd, size_t bytes, const Take& take) {
  for (size_t at = 0; at < bytes;) {
    auto found = TRY(look_at(fd, at, bytes - at));
    if (!found || found->length == 0) return fail("what it holds has changed while it was read");
    Piece& piece = found->piece;
    if (size_t plain = piece.files.empty() ? 0 : TRY(before_files(fd, at, found->length))) {
      TRY(take({piece.bytes.substr(0, plain), "", piece.credentials, {}}));
      piece.bytes.erase(0, plain);
    }
    TRY(take(std::move(piece)));
    at += found->length;
  }
  return {};
}

// A message without a byte is shown to the first who looks past others, and to nobody who does so after that. So they
// are counted, or where the kernel lets nobody count them, told by what they take (memory_of()).
Result<> read_messages(int fd, bool may_end, const Take& take) {
  size_t most = kUsualMessage;
  for (size_t at = 0;;) {
    auto found = TRY(look_at(fd, at, most));
    if (!found || (found->length == 0 && may_end)) return {};
    if (found->length > most) {
      most = found->length;
      continue;
    }
    at += found->length;
    TRY(take(std::move(found->piece)));
  }
}

// A socket past whose first message we have to look.
struct Deep {
  const OpenFile* file = nullptr;
  Fd fd;
  size_t bytes = 0;      // of a stream
  bool may_end = false;  // its peer sends no more: packets
  int ahead = -1;        // SO_PEEK_OFF
};

// Brings descriptors from who has looked.
class Carrier {
 public:
  static Result<Carrier> make() {
    constexpr int kRoom = 1 << 28;
    int fds[2];
    if (::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds)) return fail_errno("socketpair");
    Carrier carrier;
    carrier.in_ = Fd(fds[0]);
    carrier.out_ = Fd(fds[1]);
    TRY(set_number(carrier.in_.get(), SOL_SOCKET, SO_SNDBUFFORCE, kRoom));
    return carrier;
  }
  Result<> send(std::span<const Fd> files) const {
    alignas(cmsghdr) char control[CMSG_SPACE(kMostFiles * sizeof(int))] = {};
    char byte = 0;
    iovec data{&byte, 1};
    size_t length = files.size() * sizeof(int);
    cmsghdr head{.cmsg_len = CMSG_LEN(length), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    std::memcpy(control, &head, sizeof head);
    for (size_t i = 0; i < files.size(); ++i) {
      int fd = files[i].get();
      std::memcpy(control + CMSG_LEN(i * sizeof fd), &fd, sizeof fd);
    }
    msghdr message{.msg_name = nullptr,
                   .msg_namelen = 0,
                   .msg_iov = &data,
                   .msg_iovlen = 1,
                   .msg_control = control,
                   .msg_controllen = CMSG_SPACE(length),
                   .msg_flags = 0};
    return ::sendmsg(in_.get(), &message, MSG_DONTWAIT) == 1 ? Result<>() : fail_errno("sendmsg");
  }
  // Of one piece; nothing: there is no more.
  Result<std::optional<std::vector<Fd>>> receive() const {
    auto found = TRY(look(out_.get(), 1, 0));
    if (!found) return std::nullopt;
    return std::move(found->piece.files);
  }

 private:
  Carrier() = default;
  Fd in_, out_;
};

Result<> read_deep(const Deep& socket, const Carrier& carrier, image::UnixQueueReadings::Reading& out) {
  auto take = [&](Piece piece) -> Result<> {
    auto* message = out.add_messages();
    message->set_bytes(std::move(piece.bytes));
    message->set_sender(std::move(piece.sender));
    if (piece.credentials) {
      message->mutable_credentials()->set_pid(piece.credentials->pid);
      message->mutable_credentials()->set_user(piece.credentials->uid);
      message->mutable_credentials()->set_group(piece.credentials->gid);
    }
    if (piece.files.empty()) return {};
    for (size_t i = 0; i < piece.files.size(); ++i) message->add_files(0);  // they come through the carrier
    return carrier.send(piece.files);
  };
  return socket.file->socket->type == SOCK_STREAM ? read_stream(socket.fd.get(), socket.bytes, take)
                                                  : read_messages(socket.fd.get(), socket.may_end, take);
}

// Whatever comes of it, nobody looks ahead then. Can be called again if who did it was killed.
bool read_all_deep(std::span<const Deep> sockets, const Carrier& carrier, int report) {
  image::UnixQueueReadings out;
  Result<> done;
  for (auto left = carrier.receive(); left && *left;) left = carrier.receive();
  for (const Deep& socket : sockets) {
    auto* reading = out.add_readings();
    auto read = read_deep(socket, carrier, *reading);
    if (!read && read.error().refusal) reading->set_obstacle(read.error().what);
    if (!read && !read.error().refusal && done) done = std::move(read);
    auto put_back = set_number(socket.fd.get(), SOL_SOCKET, SO_PEEK_OFF, socket.ahead);
    if (!put_back && done) done = std::move(put_back);
  }
  if (!done) out.set_error(done.error().what);
  return ::ftruncate(report, 0) == 0 && ::lseek(report, 0, SEEK_SET) == 0 &&
         write_all(report, out.SerializeAsString(), "messages");
}

class Looking {
 public:
  Looking(Dumping& dumping, const Kind::Found& found) : dumping_(dumping), found_(found) {}

  // What a plain look shows is taken, without disturbing anything.
  Result<> look_at_first(const OpenFile& file) {
    Deep socket{.file = &file, .fd = TRY(file.fetch())};
    int fd = socket.fd.get();
    if (TRY(read_number(fd, SOL_SOCKET, SO_ACCEPTCONN))) return {};
    pollfd poll{.fd = fd, .events = POLLIN | POLLPRI | POLLRDHUP, .revents = 0};
    if (::poll(&poll, 1, 0) < 0) return fail_errno("poll");
    // An error that is pending would be told to us, and to nobody else.
    if (poll.revents & POLLERR || !(poll.revents & (POLLIN | POLLPRI))) return {};
    if (poll.revents & POLLPRI) return refuse_for_now("holds data out of band, which is not supported yet");
    int bytes = 0;
    if (::ioctl(fd, FIONREAD, &bytes)) return fail_errno("FIONREAD");
    bool is_stream = file.socket->type == SOCK_STREAM;
    // The end of a connection makes it readable too.
    if (bytes == 0 && is_stream) return {};
    socket.bytes = static_cast<size_t>(bytes);
    socket.may_end = file.socket->type == SOCK_SEQPACKET && poll.revents & POLLRDHUP;
    socket.ahead = TRY(read_number(fd, SOL_SOCKET, SO_PEEK_OFF));
    if (is_stream && socket.ahead < 0) {
      auto all = TRY(look(fd, socket.bytes));
      if (all && all->piece.files.empty() && all->length == socket.bytes) return take(file, std::move(all->piece));
    }
    // An examination is not worth what it does to messages without a byte: it looks at the first one alone.
    if (is_stream || dumping_.image) {
      deep_.push_back(std::move(socket));
      return {};
    }
    auto first = socket.ahead < 0 ? TRY(look(fd, kUsualMessage)) : std::nullopt;
    return first ? take(file, std::move(first->piece)) : Result<>();
  }

  // A service that looks before it reads, would look elsewhere: so it is done undisturbed.
  Result<> look_deeper() {
    if (deep_.empty()) return {};
    Fd report(::memfd_create("messages", MFD_CLOEXEC));
    if (!report) return fail_errno("memfd_create");
    Carrier carrier = TRY(Carrier::make());
    bool only_streams =
        std::ranges::all_of(deep_, [](const Deep& one) { return one.file->socket->type == SOCK_STREAM; });
    auto insides = only_streams ? std::map<int, SocketInsides>() : look_into_sockets();
    if (!only_streams) dumping_.messages_counted = insides.has_value();
    if (!TRY(do_undisturbed([&] { return read_all_deep(deep_, carrier, report.get()); })))
      return fail("no memory for what UNIX sockets hold");
    if (::lseek(report.get(), 0, SEEK_SET)) return fail_errno("lseek");
    image::UnixQueueReadings readings;
    if (!readings.ParseFromString(TRY(read_all(report.get(), "messages"))) ||
        readings.readings_size() != static_cast<int>(deep_.size()))
      return fail("what was read of UNIX sockets cannot be understood");
    if (!readings.error().empty()) return fail(readings.error());
    for (size_t i = 0; i < deep_.size(); ++i)
      TRY(is_done(
          dumping_, *deep_[i].file,
          take_all(deep_[i], readings.readings(static_cast<int>(i)), carrier, insides ? &*insides : nullptr)));
    return {};
  }

 private:
  Result<> take(const OpenFile& file, Piece piece) {
    ReceivedMessage message{std::move(piece.bytes), std::move(piece.sender), piece.credentials, {}};
    for (Fd& fd : piece.files) message.files.push_back(TRY(found_(file, std::move(fd))));
    dumping_.queues[file.id].push_back(std::move(message));
    return {};
  }
  Result<> take_all(const Deep& socket, const image::UnixQueueReadings::Reading& reading, const Carrier& carrier,
                    const std::map<int, SocketInsides>* insides) {
    for (const auto& message : reading.messages()) {
      Piece piece{.bytes = message.bytes(), .sender = message.sender(), .credentials = {}, .files = {}};
      if (message.has_credentials())
        piece.credentials = ucred{.pid = message.credentials().pid(),
                                  .uid = message.credentials().user(),
                                  .gid = message.credentials().group()};
      if (auto files = message.files().empty() ? std::nullopt : TRY(carrier.receive()))
        piece.files = std::move(*files);
      if (static_cast<int>(piece.files.size()) != message.files_size()) return fail("descriptors in flight are lost");
      TRY(take(*socket.file, std::move(piece)));
    }
    if (!reading.obstacle().empty()) return refuse(reading.obstacle());
    if (insides && socket.file->socket->type != SOCK_STREAM)
      if (auto inside = insides->find(socket.fd.get());
          inside != insides->end() && static_cast<uint32_t>(reading.messages_size()) < inside->second.messages)
        return refuse_for_now("holds an empty message that shows no more since somebody has looked");
    return {};
  }

  Dumping& dumping_;
  const Kind::Found& found_;
  std::vector<Deep> deep_;
};

}  // namespace

Result<> look_inside(Dumping& dumping, std::span<const OpenFile> files, const Kind::Found& found) {
  Looking looking(dumping, found);
  for (const OpenFile& file : files) TRY(is_done(dumping, file, looking.look_at_first(file)));
  return looking.look_deeper();
}

Result<uint32_t> memory_of(int type, std::span<const ReceivedMessage> messages) {
  int fds[2];
  if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds)) return fail_errno("socketpair");
  Fd sender(fds[0]), receiver(fds[1]);
  constexpr size_t kPerMessage = 1024;
  size_t room = 0;
  for (const auto& message : messages) room += message.bytes.size() + kPerMessage;
  TRY(with_wide_buffers(sender.get(), room, 0, [&]() -> Result<> {
    for (const auto& message : messages)
      if (::send(sender.get(), message.bytes.data(), message.bytes.size(), MSG_DONTWAIT) < 0)
        return fail_errno("send");
    return {};
  }));
  int memory = 0;
  if (::ioctl(sender.get(), SIOCOUTQ, &memory)) return fail_errno("SIOCOUTQ");
  return static_cast<uint32_t>(memory);
}

}  // namespace ks::engine::unix_socket
