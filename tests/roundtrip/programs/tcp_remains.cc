// SPDX-License-Identifier: LGPL-2.1-or-later
// What TCP connections have left to who has not closed them: ended by both sides, reset, timed out or never made,
// with data that came before and has not been read; beside the listener of their port, and in an epoll. With
// "errors", the error has not been told yet.
#include <linux/filter.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <vector>

#include "numbered_bytes.h"
#include "program.h"
#include "socket_name.h"

struct Pair {
  int client, server;
};
static int connect_to(const std::string& name, int flags = 0) {
  int fd = socket(name[0], SOCK_STREAM | flags, 0);
  int done = connect(fd, reinterpret_cast<const sockaddr*>(name.data()), static_cast<socklen_t>(name.size()));
  CHECK(fd >= 0 && (done == 0 || errno == EINPROGRESS));
  return fd;
}
static Pair connect_pair(int listener) {
  Pair pair{connect_to(name_of(listener)), -1};
  pair.server = accept(listener, nullptr, nullptr);
  CHECK(pair.server >= 0);
  return pair;
}
static int listen_at(int family, bool reuse) {
  int fd = socket(family, SOCK_STREAM, 0), on = reuse;
  sockaddr_in four{.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  sockaddr_in6 six{.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
  CHECK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0);
  int done = family == AF_INET ? bind(fd, reinterpret_cast<sockaddr*>(&four), sizeof four)
                               : bind(fd, reinterpret_cast<sockaddr*>(&six), sizeof six);
  CHECK(done == 0 && listen(fd, 10) == 0);
  return fd;
}

static void say(int fd, const char* text) {
  CHECK(write(fd, text, strlen(text)) == static_cast<ssize_t>(strlen(text)));
}
static void end(int fd) { CHECK(shutdown(fd, SHUT_WR) == 0); }
static int number(int fd, int level, int name) {
  int value = 0;
  socklen_t length = sizeof value;
  CHECK(getsockopt(fd, level, name, &value, &length) == 0);
  return value;
}
static void reset(int fd) {
  linger none{.l_onoff = 1, .l_linger = 0};
  CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none) == 0 && close(fd) == 0);
}
static void wait_for_close(int fd) {
  for (;; usleep(1000)) {
    struct tcp_info info{};
    socklen_t length = sizeof info;
    CHECK(getsockopt(fd, SOL_TCP, TCP_INFO, &info, &length) == 0);
    if (info.tcpi_state == TCP_CLOSE) return;
  }
}

struct Remains {
  int fd;
  size_t unread;
  int error;        // 0: has been told
  bool peer_ended;  // before it
  std::string name;
  short events;
  int reuse;
};
static short events_of(int fd) {
  pollfd poll{.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP | POLLPRI, .revents = 0};
  CHECK(::poll(&poll, 1, 0) == 1);
  return poll.revents;
}
static void check(const Remains& one) {
  int bytes = 0;
  CHECK(name_of(one.fd) == one.name && events_of(one.fd) == one.events);
  CHECK(ioctl(one.fd, SIOCINQ, &bytes) == 0 && static_cast<size_t>(bytes) == one.unread);
  CHECK(number(one.fd, SOL_SOCKET, SO_REUSEADDR) == one.reuse);
  sockaddr_storage peer;
  socklen_t length = sizeof peer;
  CHECK(getpeername(one.fd, reinterpret_cast<sockaddr*>(&peer), &length) == -1 && errno == ENOTCONN);
  wait_for_close(one.fd);
  std::string text(one.unread + 1, '\0');
  for (size_t i = 0; i < one.unread;) {
    ssize_t got = read(one.fd, text.data(), text.size());
    CHECK(got > 0);
    for (ssize_t j = 0; j < got; ++j) CHECK(text[static_cast<size_t>(j)] == byte_at(i++));
  }
  // What the end of the peer hides from read(2), write(2) tells.
  if (one.error && !one.peer_ended) CHECK(read(one.fd, text.data(), 1) == -1 && errno == one.error);
  CHECK(read(one.fd, text.data(), 1) == 0);
  if (one.error && one.peer_ended) CHECK(number(one.fd, SOL_SOCKET, SO_ERROR) == one.error);
  CHECK(number(one.fd, SOL_SOCKET, SO_ERROR) == 0);
  CHECK(write(one.fd, "x", 1) == -1 && errno == EPIPE);
}

// The other end takes nothing any more, and acknowledges nothing.
static void let_time_out(int fd, int peer) {
  sock_filter nothing[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
  sock_fprog program{1, nothing};
  int soon = 1;
  CHECK(setsockopt(peer, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0);
  CHECK(setsockopt(fd, SOL_TCP, TCP_USER_TIMEOUT, &soon, sizeof soon) == 0);
  say(fd, "is not heard");
  wait_for_close(fd);
}

int main(int, char** arguments) {
  signal(SIGPIPE, SIG_IGN);
  bool errors = arguments[1] && std::string(arguments[1]) == "errors";
  if (errors && access("/sys/kernel/btf/vmlinux", R_OK)) skip("this kernel lets nobody look for errors");
  bool six = access("/proc/net/if_inet6", F_OK) == 0;
  int listener = listen_at(AF_INET, false), listener6 = six ? listen_at(AF_INET6, true) : -1;
  std::vector<Remains> all;
  auto add = [&](int fd, size_t unread, int error = 0, bool peer_ended = false) {
    wait_for_close(fd);
    if (!errors && error) CHECK(number(fd, SOL_SOCKET, SO_ERROR) == error);
    if (!errors) error = 0;
    int reuses = number(fd, SOL_SOCKET, SO_REUSEADDR);
    all.push_back({fd, unread, error, peer_ended, name_of(fd), events_of(fd), reuses});
  };

  for (int of : {listener, listener6}) {
    if (of < 0) continue;
    Pair ended = connect_pair(of), unread = connect_pair(of), full = connect_pair(of), broken = connect_pair(of),
         cut = connect_pair(of), left = connect_pair(of), late = connect_pair(of);
    end(ended.client);
    end(ended.server);
    add(ended.client, 0);
    add(ended.server, 0);
    char bytes[3] = {byte_at(0), byte_at(1), byte_at(2)};
    CHECK(write(unread.client, bytes, 3) == 3);
    end(unread.client);
    end(unread.server);
    add(unread.client, 0);
    add(unread.server, 3);
    stuff(full.client);
    usleep(10'000);  // all that fits is there
    end(full.server);
    reset(full.client);
    wait_for_close(full.server);
    int there = 0;
    CHECK(ioctl(full.server, SIOCINQ, &there) == 0);
    add(full.server, static_cast<size_t>(there), ECONNRESET);
    say(broken.client, "nobody reads this");
    close(broken.server);
    add(broken.client, 0, ECONNRESET);
    reset(cut.client);
    add(cut.server, 0, ECONNRESET);
    CHECK(write(left.client, bytes, 3) == 3);
    end(left.client);
    while (!(events_of(left.server) & POLLRDHUP)) usleep(1000);
    reset(left.client);
    add(left.server, 3, EPIPE, true);
    let_time_out(late.client, late.server);
    reset(late.server);
    add(late.client, 0, ETIMEDOUT);
  }
  int refuses = listen_at(AF_INET, true);
  std::string nowhere = name_of(refuses);
  close(refuses);
  int never = connect_to(nowhere, SOCK_NONBLOCK);
  add(never, 0, ECONNREFUSED);
  int watch = epoll_create1(0);
  for (size_t i = 0; i < all.size(); ++i) {
    epoll_event event{.events = EPOLLIN, .data = {.u64 = i}};
    CHECK(epoll_ctl(watch, EPOLL_CTL_ADD, all[i].fd, &event) == 0);
  }

  ready();

  std::vector<epoll_event> events(all.size() + 1);
  CHECK(epoll_wait(watch, events.data(), static_cast<int>(events.size()), 0) == static_cast<int>(all.size()));
  for (const Remains& one : all) check(one);
  Pair fresh = connect_pair(listener);
  say(fresh.client, "n");
  char byte;
  CHECK(read(fresh.server, &byte, 1) == 1 && byte == 'n');
}
