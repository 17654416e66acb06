// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kinds/inet_socket/urgent.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>

#include "base/fd.h"
#include "base/file.h"
#include "engine/kernel/socket.h"
#include "engine/kinds/inet_socket/address.h"
#include "engine/kinds/inet_socket/connection.h"
#include "engine/kinds/inet_socket/forger.h"
#include "engine/kinds/inet_socket/lent_option.h"
#include "engine/target/undisturbed.h"

namespace ks::engine::inet_socket {

namespace {

constexpr SocketOption kInLine{SOL_SOCKET, SO_OOBINLINE, "SO_OOBINLINE"};

std::string number_bytes(int value) { return bytes_of(value); }

Result<> peek_all(int fd, std::span<char> room) {
  if (room.empty()) return {};
  ssize_t got = ::recv(fd, room.data(), room.size(), MSG_PEEK | MSG_DONTWAIT);
  if (got < 0 && errno != EAGAIN) return fail_errno("recv");
  return got == static_cast<ssize_t>(room.size()) ? Result<>() : fail("what it has received changes", EAGAIN);
}

// A segment of the peer's, of no byte or one, that announces the one at its own place. What the pointer counts from
// is a matter of net.ipv4.tcp_stdurg, but for 0.
std::string urgent_segment(in_port_t from, in_port_t to, uint32_t sequence, uint32_t acknowledged,
                           std::string_view data) {
  tcphdr header{};
  header.source = from;
  header.dest = to;
  header.seq = htonl(sequence);
  header.ack_seq = htonl(acknowledged);
  header.doff = sizeof header / 4;
  header.ack = header.urg = 1;
  header.window = htons(1);  // which is set anew
  return bytes_of(header).append(data);
}

// Out of line the byte can be had as soon as it has come, and something else is said while it has only been
// announced.
Result<> await_mark(int fd, bool has_come) {
  constexpr int kPatience = 10'000;  // milliseconds
  for (int i = 0; i < kPatience; ++i, ::usleep(1000)) {
    char byte;
    ssize_t got = ::recv(fd, &byte, 1, MSG_OOB | MSG_PEEK | MSG_DONTWAIT);
    if (has_come ? got == 1 : got < 0 && errno == EAGAIN) return {};
    if (got < 0 && errno != EINVAL && errno != EAGAIN) return fail_errno("recv");
  }
  return fail("urgent data does not come over the loopback interface; does a packet filter keep it back?");
}

}  // namespace

// A look ends at the mark, unless it begins there.
Result<std::string> peek_around_mark(int fd, const TcpInsides& insides, size_t bytes) {
  size_t mark = insides.urgent_at - insides.read_up_to;
  std::string data(bytes, '\0');
  std::span<char> room(data);
  TRY(peek_all(fd, room.first(mark)));
  if (mark + 1 == bytes && insides.urgent & TcpInsides::kHasCome) {
    data.back() = static_cast<char>(insides.urgent);
    return data;
  }
  LentOption in_line(kInLine);
  TRY(in_line.set(fd, number_bytes(1)));
  bool skips = mark != 0;
  if (skips && !set_number(fd, SOL_SOCKET, SO_PEEK_OFF, static_cast<int>(mark)))
    return refuse_for_now(
        "holds urgent data in the midst of what has not been read, past which this kernel lets nobody look");
  auto done = peek_all(fd, room.subspan(mark));
  if (skips) TRY(set_number(fd, SOL_SOCKET, SO_PEEK_OFF, -1));
  TRY(in_line.give_back());
  TRY(std::move(done));
  return data;
}

Result<std::string> peek_undisturbed(int fd, const TcpInsides& insides, size_t bytes, bool in_line) {
  Fd report(::memfd_create("urgent", MFD_CLOEXEC));
  if (!report) return fail_errno("memfd_create");
  auto look = [&] {
    image::ConnectionReadings::Reading reading;
    auto data = peek_around_mark(fd, insides, bytes);
    if (!data)
      reading.set_obstacle(data.error().what);
    else
      reading.set_connection(*std::move(data));
    // Should one who did it before have been killed in the middle.
    (void)set_number(fd, SOL_SOCKET, SO_PEEK_OFF, -1);
    return set_number(fd, SOL_SOCKET, SO_OOBINLINE, in_line) && ::ftruncate(report.get(), 0) == 0 &&
           ::lseek(report.get(), 0, SEEK_SET) == 0 &&
           write_all(report.get(), reading.SerializeAsString(), "what was read of a connection");
  };
  if (!TRY(do_undisturbed(look))) return fail("what was read of a connection cannot be kept");
  if (::lseek(report.get(), 0, SEEK_SET)) return fail_errno("lseek");
  image::ConnectionReadings::Reading reading;
  if (!reading.ParseFromString(TRY(read_all(report.get(), "what was read of a connection"))))
    return fail("what was read of a connection cannot be understood");
  if (!reading.obstacle().empty()) return refuse(reading.obstacle());
  return std::move(*reading.mutable_connection());
}

Result<> put_from_mark(int fd, const image::TcpConnection& connection, const std::string& local,
                       const std::string& peer) {
  std::string_view data = connection.received().data();
  size_t mark = connection.urgent().offset();
  bool has_come = mark < data.size();
  // It comes from another interface than usual; the acknowledgement is not due at once.
  LentOption device(kDevice), in_line(kInLine);
  TRY(device.set(fd, ""));
  TRY(in_line.set(fd, number_bytes(0)));
  TRY(set_number(fd, SOL_TCP, TCP_QUICKACK, 0));

  auto received = TRY(open_window(fd, connection));
  auto sequence = static_cast<uint32_t>(received + (has_come ? 0 : mark - data.size()));
  auto acknowledged = static_cast<uint32_t>(connection.sent().end() - connection.sent().data().size());
  auto port = [](const std::string& address) { return as<sockaddr_in>(address).sin_port; };  // in both families there
  TRY(TRY(Forger::make())
          .send(peer, local, IPPROTO_TCP,
                urgent_segment(port(peer), port(local), sequence, acknowledged,
                               has_come ? data.substr(mark, 1) : std::string_view()),
                offsetof(tcphdr, check)));
  TRY(await_mark(fd, has_come));
  char byte;
  if (connection.urgent().has_been_read() && ::recv(fd, &byte, 1, MSG_OOB | MSG_DONTWAIT) != 1)
    return fail_errno("recv");
  TRY(in_line.give_back());
  TRY(device.give_back());
  if (has_come) TRY(put_received(fd, data.substr(mark + 1)));
  return finish_received(fd, connection);
}

}  // namespace ks::engine::inet_socket
