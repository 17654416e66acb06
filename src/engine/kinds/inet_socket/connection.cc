// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kinds/inet_socket/connection.h"

#include <fmt/core.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <string>

#include "engine/kernel/sock_diag.h"
#include "engine/kernel/socket.h"
#include "engine/kinds/inet_socket/urgent.h"

namespace ks::engine::inet_socket {

namespace {

using Connection = image::TcpConnection;

constexpr int kReceived = 1, kSent = 2;    // TCP_REPAIR_QUEUE
constexpr int kMicroseconds = 64;          // TCPI_OPT_USEC_TS, newer than the headers
constexpr size_t kLargestSegment = 65536;  // acknowledged in part, one may still be there as a whole
constexpr size_t kPiece = 32768;
// States of RFC 9293 by the kernel's numbers (net/tcp_states.h).
enum : uint8_t { kEstablished = 1, kFinWait1 = 4, kFinWait2 = 5, kCloseWait = 8, kLastAck = 9, kClosing = 11 };
constexpr uint32_t kMss = 2, kScale = 3, kSack = 4, kTimestamp = 8;  // kinds of TCP options (RFC 9293, 7323, 2018)

Result<int> count(int fd, unsigned long what, const char* label) {
  int bytes = 0;
  if (::ioctl(fd, what, &bytes)) return fail_errno(label);
  return bytes;
}

Result<std::string> peek(int fd, size_t room) {
  std::string data(room, '\0');
  ssize_t got = room ? ::recv(fd, data.data(), room, MSG_PEEK | MSG_DONTWAIT) : 0;
  if (got < 0 && errno != EAGAIN) return fail_errno("recv");
  data.resize(static_cast<size_t>(std::max<ssize_t>(got, 0)));
  return data;
}

Result<> choose_queue(int fd, int queue) { return set_number(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, queue); }

// Where the kernel lets nobody see it. An urgent byte ends what is counted as unread, and what is seen of it at once.
Result<> check_urgent(int fd, uint8_t state, const Progress& progress) {
  Error refusal = refuse("holds urgent data, and the kernel does not let us see where").error();
  if (TRY(is_at_mark(fd))) return std::unexpected(refusal);
  if (progress.unread == 0) return {};
  bool ended = state == kCloseWait || state == kLastAck || state == kClosing;  // which is counted until it is read
  int more = static_cast<int>(TRY(bytes_received(fd))) - progress.unread;
  return more == 0 || (ended && more == 1) ? Result<>() : std::unexpected(refusal);
}

Result<> read_urgent(const TcpInsides& insides, Connection& out) {
  if (!insides.urgent) return {};
  auto offset = static_cast<int32_t>(insides.urgent_at - insides.read_up_to);
  if (offset < 0)
    return refuse_for_now("holds urgent data from before what has been read, which is not supported yet");
  out.mutable_urgent()->set_offset(static_cast<uint32_t>(offset));
  out.mutable_urgent()->set_has_been_read(insides.urgent & TcpInsides::kHasBeenRead);
  return {};
}

Result<> read_received(int fd, const Progress& progress, Connection& out) {
  auto bytes = static_cast<size_t>(progress.unread);
  TRY(choose_queue(fd, kReceived));
  out.mutable_received()->set_end(static_cast<uint32_t>(progress.received));
  bool marked = out.has_urgent() && out.urgent().offset() < bytes;
  if (!marked && out.urgent().has_been_read())
    return refuse_for_now(
        "has urgent data read before all that comes before it has come, which is not supported yet");
  std::string data = TRY(marked ? peek_around_mark(fd, *progress.insides, bytes) : peek(fd, bytes));
  if (data.size() != bytes && progress.insides) return fail("what it has received changes", EAGAIN);
  if (data.size() != bytes) return refuse_for_now("holds urgent data, and the kernel does not let us see where");
  out.mutable_received()->set_data(std::move(data));
  return {};
}

// The end that it has sent takes a place in the sequence, like a byte.
Result<> read_sent(int fd, const Progress& progress, bool ended, Connection::Queue& out) {
  auto without_end = [&](int bytes) { return static_cast<size_t>(ended && bytes > 0 ? bytes - 1 : bytes); };
  size_t bytes = without_end(progress.unacknowledged);
  out.set_unsent(static_cast<uint32_t>(without_end(progress.unsent)));
  out.set_end(static_cast<uint32_t>(progress.written) - (ended ? 1 : 0));
  if (bytes == 0) return {};
  if (progress.insides) {
    auto urgent = static_cast<int32_t>(progress.insides->urgent_sent - progress.insides->acknowledged);
    out.set_urgent(static_cast<uint32_t>(std::clamp(urgent, 0, static_cast<int>(bytes))));
  }
  TRY(choose_queue(fd, kSent));
  std::string data = TRY(peek(fd, bytes + kLargestSegment));
  if (data.size() < bytes || data.size() == bytes + kLargestSegment) return fail("what it has sent changes", EAGAIN);
  out.set_data(data.substr(data.size() - bytes));
  return {};
}

// The last one of the first `urgent` bytes is.
Result<> send_pieces(int fd, std::string_view data, size_t urgent = 0) {
  while (!data.empty()) {
    size_t bytes = std::min(urgent ? urgent : data.size(), kPiece);
    int oob = bytes == urgent ? MSG_OOB : 0;
    ssize_t sent = ::send(fd, data.data(), bytes, MSG_DONTWAIT | MSG_NOSIGNAL | oob);
    if (sent < 0) return fail_errno("send");
    data.remove_prefix(static_cast<size_t>(sent));
    urgent -= std::min(urgent, static_cast<size_t>(sent));
  }
  return {};
}

Result<> set_window(int fd, const tcp_repair_window& window) {
  return set_option(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, {reinterpret_cast<const char*>(&window), sizeof window});
}
tcp_repair_window window_of(const Connection& connection) {
  const auto& told = connection.window();
  return {.snd_wl1 = told.update_sequence(),
          .snd_wnd = told.send(),
          .max_window = told.largest(),
          .rcv_wnd = told.receive(),
          .rcv_wup = told.receive_update()};
}

// A segment is to be no larger than half of the largest window, or one that fills no window would wait for a timer.
// That is reckoned when the options of packets change, or are set to what they are.
Result<> reckon_segments(int fd) {
  bool six = TRY(read_number(fd, SOL_SOCKET, SO_DOMAIN)) == AF_INET6;
  SocketOption option =
      six ? SocketOption{SOL_IPV6, IPV6_RTHDR, "IPV6_RTHDR"} : SocketOption{SOL_IP, IP_OPTIONS, "IP_OPTIONS"};
  auto now = TRY(read_option(fd, option));
  return in(option.label, set_option(fd, option.level, option.name, now.value_or("")));
}

// What of the sent queue the kernel takes as sent before it is out of repair.
std::pair<std::string_view, std::string_view> sent_and_unsent(const Connection::Queue& queue) {
  std::string_view data = queue.data();
  size_t sent = data.size() - queue.unsent();
  return {data.substr(0, sent), data.substr(sent)};
}

}  // namespace

Result<bool> has_ended_receiving(int fd) {
  pollfd poll{.fd = fd, .events = POLLRDHUP, .revents = 0};
  if (::poll(&poll, 1, 0) < 0) return fail_errno("poll");
  return (poll.revents & POLLRDHUP) != 0;
}

Result<bool> is_at_mark(int fd) { return TRY(count(fd, SIOCATMARK, "SIOCATMARK")) != 0; }

bool is_connection(uint8_t state) {
  return state == kEstablished || state == kFinWait1 || state == kFinWait2 || state == kCloseWait ||
         state == kLastAck || state == kClosing;
}

Result<Progress> progress_of(int fd, const std::map<int, SocketInsides>* insides) {
  Progress progress;
  TRY(choose_queue(fd, kReceived));
  progress.received = TRY(read_number(fd, IPPROTO_TCP, TCP_QUEUE_SEQ));
  progress.unread = TRY(count(fd, SIOCINQ, "SIOCINQ"));
  TRY(choose_queue(fd, kSent));
  progress.written = TRY(read_number(fd, IPPROTO_TCP, TCP_QUEUE_SEQ));
  progress.unacknowledged = TRY(count(fd, SIOCOUTQ, "SIOCOUTQ"));
  progress.unsent = TRY(count(fd, SIOCOUTQNSD, "SIOCOUTQNSD"));
  if (!insides) return progress;
  auto inside = insides->find(fd);
  if (inside == insides->end()) return fail("the kernel does not tell of all sockets");
  progress.insides = inside->second.tcp;
  progress.unread = static_cast<int>(inside->second.bytes_unread());  // behind an urgent byte too
  return progress;
}

Result<Connection> read_connection(int fd, const Progress& progress) {
  tcp_info info{};
  socklen_t length = sizeof info;
  if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length)) return fail_errno("TCP_INFO");
  if (!is_connection(info.tcpi_state)) return refuse_for_now("has been ended by its peer in this moment");
  Connection out;
  out.set_ends_receiving(TRY(has_ended_receiving(fd)));
  out.set_ends_sending(info.tcpi_state != kEstablished && info.tcpi_state != kCloseWait);
  TRY(progress.insides ? read_urgent(*progress.insides, out) : check_urgent(fd, info.tcpi_state, progress));
  TRY(read_received(fd, progress, out));
  TRY(read_sent(fd, progress, out.ends_sending(), *out.mutable_sent()));
  tcp_repair_window window{};
  length = sizeof window;
  if (::getsockopt(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, &window, &length)) return fail_errno("TCP_REPAIR_WINDOW");
  auto* told = out.mutable_window();
  told->set_update_sequence(window.snd_wl1);
  told->set_send(window.snd_wnd);
  told->set_largest(window.max_window);
  told->set_receive(window.rcv_wnd);
  told->set_receive_update(window.rcv_wup);
  out.set_segment_bytes(static_cast<uint32_t>(TRY(read_number(fd, IPPROTO_TCP, TCP_MAXSEG))));
  out.set_scales_windows(info.tcpi_options & TCPI_OPT_WSCALE);
  out.set_send_scale(info.tcpi_snd_wscale);
  out.set_receive_scale(info.tcpi_rcv_wscale);
  out.set_acknowledges_selectively(info.tcpi_options & TCPI_OPT_SACK);
  out.set_has_timestamps(info.tcpi_options & TCPI_OPT_TIMESTAMPS);
  // The lowest bit is for the unit, on kernels that know more than one; on others it says nothing.
  auto timestamp = static_cast<uint32_t>(TRY(read_number(fd, IPPROTO_TCP, TCP_TIMESTAMP)));
  out.set_timestamp((timestamp & ~1u) | (info.tcpi_options & kMicroseconds ? 1 : 0));
  return out;
}

Result<> prepare_connection(int fd, const Connection& connection) {
  // Or it would go on with segments of the smallest size, which connect(2) starts with.
  constexpr uint32_t kLargest = 32767;  // MAX_TCP_WINDOW
  TRY(set_number(fd, IPPROTO_TCP, TCP_MAXSEG, static_cast<int>(std::min(connection.segment_bytes(), kLargest))));
  for (auto [queue, number] : {std::pair(&connection.received(), kReceived), std::pair(&connection.sent(), kSent)}) {
    TRY(choose_queue(fd, number));
    TRY(set_number(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, static_cast<int>(queue->end() - queue->data().size())));
  }
  return {};
}

Result<> fill_connection(int fd, const Connection& connection) {
  TRY(set_number(fd, IPPROTO_TCP, TCP_MAXSEG, 0));
  std::vector<tcp_repair_opt> options = {{kMss, connection.segment_bytes()}};
  if (connection.scales_windows())
    options.push_back({kScale, connection.send_scale() | connection.receive_scale() << 16});
  if (connection.acknowledges_selectively()) options.push_back({kSack, 0});
  if (connection.has_timestamps()) options.push_back({kTimestamp, 0});
  TRY(set_option(fd, IPPROTO_TCP, TCP_REPAIR_OPTIONS,
                 {reinterpret_cast<const char*>(options.data()), options.size() * sizeof options[0]}));
  if (connection.has_timestamps())
    TRY(set_number(fd, IPPROTO_TCP, TCP_TIMESTAMP, static_cast<int>(connection.timestamp())));
  std::string_view received = connection.received().data();
  TRY(put_received(fd, connection.has_urgent() ? received.substr(0, connection.urgent().offset()) : received));
  TRY(choose_queue(fd, kSent));
  std::string_view sent = sent_and_unsent(connection.sent()).first;
  size_t urgent = connection.sent().urgent();
  TRY(in("sent", send_pieces(fd, sent, urgent <= sent.size() ? urgent : 0)));
  return connection.has_urgent() ? Result<>() : finish_received(fd, connection);
}

Result<uint32_t> open_window(int fd, const Connection& connection) {
  constexpr uint32_t kFarthest = 1 << 17;  // to which an urgent byte can be announced, and more
  TRY(choose_queue(fd, kReceived));
  auto sequence = static_cast<uint32_t>(TRY(read_number(fd, IPPROTO_TCP, TCP_QUEUE_SEQ)));
  tcp_repair_window window = window_of(connection);
  window.snd_wl1 = sequence - 1;
  window.rcv_wnd = kFarthest;
  window.rcv_wup = sequence;
  TRY(set_window(fd, window));
  return sequence;
}

Result<> finish_received(int fd, const Connection& connection) {
  TRY(set_window(fd, window_of(connection)));
  TRY(reckon_segments(fd));
  if (connection.ends_receiving() && ::shutdown(fd, SHUT_RD)) return fail_errno("shutdown");
  return {};
}

Result<> put_received(int fd, std::string_view data) {
  TRY(choose_queue(fd, kReceived));
  return in("received", send_pieces(fd, data));
}

Result<> resume_connection(int fd, const Connection& connection) {
  TRY(set_number(fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF));
  auto [sent, unsent] = sent_and_unsent(connection.sent());
  size_t urgent = connection.sent().urgent();
  TRY(in("unsent", send_pieces(fd, unsent, urgent > sent.size() ? urgent - sent.size() : 0)));
  // Its end comes again, at its old place; a peer that knows it says so.
  if (connection.ends_sending() && ::shutdown(fd, SHUT_WR)) return fail_errno("shutdown");
  return {};
}

}  // namespace ks::engine::inet_socket
