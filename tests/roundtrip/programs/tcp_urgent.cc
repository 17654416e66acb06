// SPDX-License-Identifier: LGPL-2.1-or-later
// TCP connections with urgent data: received, before what has been read and behind it, taken out of line, in line,
// announced and not there yet, on its way to a peer, and left when the connection
// has ended.
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <string>
#include <vector>

#include "options.h"
#include "program.h"
#include "socket_name.h"

struct Pair {
  int client, server;
};
// `mapped`: the listener is one of IPv6, and is connected to over IPv4.
static Pair connect_pair(int family, bool mapped = false, int receive_buffer = 0) {
  int listener = socket(mapped ? AF_INET6 : family, SOCK_STREAM, 0);
  sockaddr_in four{.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  sockaddr_in6 six{.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
  if (mapped) six.sin6_addr = in6addr_any, set(listener, SOL_IPV6, IPV6_V6ONLY, 0);
  if (receive_buffer) set(listener, SOL_SOCKET, SO_RCVBUF, receive_buffer);
  bool by_four = family == AF_INET && !mapped;
  auto* at = by_four ? reinterpret_cast<sockaddr*>(&four) : reinterpret_cast<sockaddr*>(&six);
  CHECK(bind(listener, at, by_four ? sizeof four : sizeof six) == 0 && listen(listener, 1) == 0);
  std::string name = name_of(listener);
  if (mapped) {
    memcpy(&six, name.data(), sizeof six);
    four.sin_port = six.sin6_port;
    name.assign(reinterpret_cast<char*>(&four), sizeof four);
  }
  Pair pair{socket(family, SOCK_STREAM, 0), -1};
  CHECK(connect(pair.client, reinterpret_cast<sockaddr*>(name.data()), static_cast<socklen_t>(name.size())) == 0);
  pair.server = accept(listener, nullptr, nullptr);
  CHECK(pair.server >= 0 && close(listener) == 0);
  return pair;
}

static void say(int fd, const std::string& text, int flags = 0) {
  CHECK(send(fd, text.data(), text.size(), flags) == static_cast<ssize_t>(text.size()));
}
// A look or a reading ends at the mark.
static void hear(int fd, const std::string& text) {
  std::string got(text.size() + 100, '\0');
  ssize_t bytes = recv(fd, got.data(), got.size(), MSG_DONTWAIT);
  CHECK(bytes >= 0 && std::string_view(got.data(), static_cast<size_t>(bytes)) == text);
}
static bool at_mark(int fd) {
  int value = 0;
  CHECK(ioctl(fd, SIOCATMARK, &value) == 0);
  return value;
}
static char take_urgent(int fd) {
  char byte = 0;
  pollfd poll_urgent{.fd = fd, .events = POLLPRI, .revents = 0};
  CHECK(poll(&poll_urgent, 1, 10000) == 1 && recv(fd, &byte, 1, MSG_OOB) == 1);
  return byte;
}
static bool has_urgent(int fd) {
  char byte;
  return recv(fd, &byte, 1, MSG_OOB | MSG_PEEK | MSG_DONTWAIT) == 1;
}

static volatile sig_atomic_t urged = 0;

int main() {
  signal(SIGURG, [](int) { urged = urged + 1; });
  bool six = access("/proc/net/if_inet6", F_OK) == 0;
  std::vector<Pair> ahead = {connect_pair(AF_INET)};
  if (six) ahead.push_back(connect_pair(AF_INET6)), ahead.push_back(connect_pair(AF_INET, true));
  // Only newer kernels let anybody look past a mark.
  int zero = 0;
  bool looks_past = setsockopt(ahead[0].server, SOL_SOCKET, SO_PEEK_OFF, &zero, sizeof zero) == 0;
  if (looks_past) set(ahead[0].server, SOL_SOCKET, SO_PEEK_OFF, -1);
  for (Pair pair : ahead) say(pair.client, "abcd", MSG_OOB), say(pair.client, looks_past ? "efg" : "");
  // Behind the mark, at it, and at it when the byte has been taken.
  Pair behind = connect_pair(AF_INET), at = connect_pair(AF_INET), taken = connect_pair(AF_INET),
       last = connect_pair(AF_INET);
  for (Pair pair : {behind, at, taken}) say(pair.client, "abcd", MSG_OOB), say(pair.client, "efg");
  say(last.client, "d", MSG_OOB);
  for (Pair pair : {behind, at, taken, last}) CHECK(has_urgent(pair.server) || (usleep(100'000), true));
  for (Pair pair : {behind, at, taken}) hear(pair.server, "abc");
  hear(behind.server, "efg");
  CHECK(take_urgent(taken.server) == 'd');
  // Taken before it was reached.
  Pair early = connect_pair(AF_INET);
  say(early.client, "abcd", MSG_OOB);
  say(early.client, "efg");
  CHECK(take_urgent(early.server) == 'd');
  if (!looks_past) hear(early.server, "abc");
  // In line, before it and at it; the peer has ended.
  Pair in_line = connect_pair(AF_INET), in_line_at = connect_pair(AF_INET);
  for (Pair pair : {in_line, in_line_at}) {
    set(pair.server, SOL_SOCKET, SO_OOBINLINE, 1);
    say(pair.client, "abcd", MSG_OOB);
    say(pair.client, "efg");
    CHECK(shutdown(pair.client, SHUT_WR) == 0);
    usleep(10'000);
  }
  if (!looks_past) hear(in_line.server, "abc");
  hear(in_line_at.server, "abc");
  // Connections that have ended, one of them while there was nobody to take what it was sent.
  Pair ended = connect_pair(AF_INET), ended_at = connect_pair(AF_INET), cut = connect_pair(AF_INET);
  for (Pair pair : {ended, ended_at, cut}) {
    say(pair.client, "abcd", MSG_OOB);
    say(pair.client, "efg");
    usleep(10'000);
    if (pair.server != ended.server || !looks_past) hear(pair.server, "abc");
    if (pair.server == ended_at.server) CHECK(take_urgent(pair.server) == 'd');
    linger none{.l_onoff = 1, .l_linger = 0};
    if (pair.server == cut.server)
      CHECK(setsockopt(pair.client, SOL_SOCKET, SO_LINGER, &none, sizeof none) == 0);
    else
      CHECK(shutdown(pair.server, SHUT_WR) == 0);
    CHECK(close(pair.client) == 0);
    pollfd hangup{.fd = pair.server, .events = 0, .revents = 0};
    CHECK(poll(&hangup, 1, 10000) == 1);
    while ((number(pair.server, SOL_TCP, TCP_INFO) & 0xff) != TCP_CLOSE) usleep(1000);
    CHECK(number(pair.server, SOL_SOCKET, SO_ERROR) == (pair.server == cut.server ? ECONNRESET : 0));
  }
  // More than the peer takes: some is unacknowledged, some unsent, and the last byte is urgent; more comes after it.
  Pair full = connect_pair(AF_INET, false, 4096);
  set(full.client, SOL_SOCKET, SO_SNDBUF, 1 << 20);
  const std::string kLong(70'000, 'x');
  say(full.client, kLong);
  say(full.client, "u", MSG_OOB);
  say(full.client, "after");
  // Announced alone, right behind a full buffer.
  Pair announced = connect_pair(AF_INET, false, 4096);
  set(announced.client, SOL_SOCKET, SO_SNDBUF, 1 << 20);
  const std::string kShort(30'000, 'y');
  say(announced.client, kShort + "u", MSG_OOB);
  usleep(300'000);
  CHECK(!has_urgent(announced.server) && errno == EAGAIN);
  // Both ends, and an owner who is told of what comes later.
  Pair both = connect_pair(AF_INET);
  say(both.client, "1", MSG_OOB);
  say(both.server, "2", MSG_OOB);
  CHECK(fcntl(both.server, F_SETOWN, getpid()) == 0);
  usleep(100'000);
  ready();

  CHECK(urged == 0 && fcntl(both.server, F_GETOWN) == getpid());
  for (Pair pair : ahead) {
    CHECK(!at_mark(pair.server) && take_urgent(pair.server) == 'd');
    hear(pair.server, "abc");
    CHECK(at_mark(pair.server));
    if (looks_past) hear(pair.server, "efg");
  }
  CHECK(!at_mark(behind.server) && !has_urgent(behind.server));
  CHECK(at_mark(at.server) && take_urgent(at.server) == 'd');
  hear(at.server, "efg");
  CHECK(at_mark(taken.server) && !has_urgent(taken.server) && errno == EINVAL);
  hear(taken.server, "efg");
  CHECK(at_mark(last.server) && take_urgent(last.server) == 'd');
  say(last.client, "more");
  await_input(last.server);
  hear(last.server, "more");
  CHECK(!has_urgent(early.server) && errno == EINVAL);
  if (looks_past) hear(early.server, "abc");
  CHECK(at_mark(early.server));
  hear(early.server, "efg");
  for (Pair pair : {in_line, in_line_at}) {
    CHECK(number(pair.server, SOL_SOCKET, SO_OOBINLINE));
    if (pair.server == in_line.server && looks_past) CHECK(!at_mark(pair.server)), hear(pair.server, "abc");
    CHECK(at_mark(pair.server));
    hear(pair.server, "defg");
    hear(pair.server, "");
  }
  CHECK(at_mark(ended.server) == !looks_past && take_urgent(ended.server) == 'd');
  if (looks_past) hear(ended.server, "abc");
  CHECK(at_mark(ended_at.server) && !has_urgent(ended_at.server) && errno == EINVAL);
  CHECK(at_mark(cut.server));
  for (Pair pair : {ended, ended_at, cut}) {
    hear(pair.server, "efg");
    hear(pair.server, "");
  }
  for (Pair pair : {full, announced}) {
    const std::string& text = pair.server == full.server ? kLong : kShort;
    std::string got(text.size(), '\0');
    CHECK(recv(pair.server, got.data(), got.size(), MSG_WAITALL) == static_cast<ssize_t>(got.size()) && got == text);
    CHECK(take_urgent(pair.server) == 'u' && at_mark(pair.server));
    if (pair.server == announced.server) say(pair.client, "after");
    await_input(pair.server);
    hear(pair.server, "after");
  }
  CHECK(take_urgent(both.server) == '1' && take_urgent(both.client) == '2' && urged == 0);
  say(both.client, "3", MSG_OOB);
  CHECK(take_urgent(both.server) == '3' && urged == 1);
}
