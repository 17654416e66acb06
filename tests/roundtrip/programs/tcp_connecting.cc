// SPDX-License-Identifier: LGPL-2.1-or-later
// Connections that are being made, to somebody outside who takes none for now: one whose maker looks at it later, one
// for which a thread waits in connect(2), both of which are taken in the end, and one that is refused.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include "begun_thread.h"
#include "program.h"

struct Ports {
  in_port_t first, second, refuses;
};

static int full_listener(in_port_t& port) {
  int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t length = sizeof address;
  CHECK(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 && listen(listener, 0) == 0);
  CHECK(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) == 0);
  CHECK(connect(client, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  port = address.sin_port;
  return listener;
}

// Not part of what is dumped. It has none of our descriptors and looks for files that are put there for it.
static void begin_outsider() {
  pid_t between = fork_to([] {
    if (fork()) _exit(0);
    closefrom(0);
    CHECK(setsid() > 0);
    Ports ports{};
    // Backlogs so short take no two at once.
    int listeners[] = {full_listener(ports.first), full_listener(ports.second)};
    int refuses = full_listener(ports.refuses);
    int file = open("ports.new", O_WRONLY | O_CREAT, 0600);
    CHECK(write(file, &ports, sizeof ports) == sizeof ports && rename("ports.new", "ports") == 0);
    for (int64_t start = now(); access("go on", F_OK); usleep(1000))
      if (now() - start > 300'000 * kMillisecond) _exit(0);
    close(refuses);
    for (int listener : listeners) accept(listener, nullptr, nullptr);
    for (int listener : listeners) {
      int taken = accept(listener, nullptr, nullptr);
      CHECK(write(taken, "!", 1) == 1);
    }
    _exit(0);
  });
  CHECK(waitpid(between, nullptr, 0) == between);
  while (access("ports", F_OK)) usleep(1000);
}

static uint8_t state_of(int fd) {
  struct tcp_info info{};
  socklen_t length = sizeof info;
  CHECK(getsockopt(fd, SOL_TCP, TCP_INFO, &info, &length) == 0);
  return info.tcpi_state;
}
static int connect_to(int fd, in_port_t port) {
  sockaddr_in address{.sin_family = AF_INET, .sin_port = port, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  return connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address);
}
static in_port_t port_of(int fd) {
  sockaddr_in address{};
  socklen_t length = sizeof address;
  CHECK(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0);
  return address.sin_port;
}

int main() {
  begin_outsider();
  Ports ports{};
  std::string text = content("ports");
  CHECK(text.size() == sizeof ports);
  memcpy(&ports, text.data(), sizeof ports);
  int later = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0),
      refused = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), waits = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(connect_to(later, ports.first) == -1 && errno == EINPROGRESS);
  CHECK(connect_to(refused, ports.refuses) == -1 && errno == EINPROGRESS);
  std::thread thread = begin_thread([&] { CHECK(connect_to(waits, ports.second) == 0); });
  while (state_of(waits) != TCP_SYN_SENT) usleep(1000);
  in_port_t port = port_of(later);

  ready();

  for (int fd : {later, refused, waits}) CHECK(state_of(fd) == TCP_SYN_SENT);
  CHECK(port_of(later) == port && fcntl(later, F_GETFL) & O_NONBLOCK && !(fcntl(waits, F_GETFL) & O_NONBLOCK));
  CHECK(connect_to(later, ports.first) == -1 && errno == EALREADY);
  close(open("go on", O_WRONLY | O_CREAT, 0600));
  for (int fd : {later, refused}) {
    pollfd poll{.fd = fd, .events = POLLOUT, .revents = 0};
    CHECK(::poll(&poll, 1, 60'000) == 1);
  }
  thread.join();
  int error = 0;
  socklen_t length = sizeof error;
  CHECK(getsockopt(refused, SOL_SOCKET, SO_ERROR, &error, &length) == 0 && error == ECONNREFUSED);
  char byte = 0;
  pollfd answer{.fd = later, .events = POLLIN, .revents = 0};
  CHECK(poll(&answer, 1, 60'000) == 1 && read(later, &byte, 1) == 1 && byte == '!');
  CHECK(read(waits, &byte, 1) == 1 && byte == '!');
}
