// SPDX-License-Identifier: LGPL-2.1-or-later
// Open files in flight (SCM_RIGHTS), most of which nobody has open otherwise: in streams, datagrams and packets,
// within other sockets that are in flight, and in circles.
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>

#include <algorithm>
#include <vector>

#include "program.h"

struct Pair {
  int one, other;
};
static Pair make_pair(int type) {
  int fds[2];
  CHECK(socketpair(AF_UNIX, type, 0, fds) == 0);
  return {fds[0], fds[1]};
}
static void send_files(int over, const std::string& text, const std::vector<int>& files, bool close_them = true) {
  alignas(cmsghdr) char control[CMSG_SPACE(253 * sizeof(int))] = {};
  iovec data{const_cast<char*>(text.data()), text.size()};
  msghdr message{.msg_iov = &data, .msg_iovlen = 1, .msg_control = control};
  message.msg_controllen = CMSG_SPACE(files.size() * sizeof(int));
  auto* header = reinterpret_cast<cmsghdr*>(control);
  *header = {.cmsg_len = CMSG_LEN(files.size() * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
  memcpy(CMSG_DATA(header), files.data(), files.size() * sizeof(int));
  CHECK(sendmsg(over, &message, 0) == static_cast<ssize_t>(text.size()));
  std::vector<int> different = files;
  std::ranges::sort(different);
  different.erase(std::ranges::unique(different).begin(), different.end());
  for (int fd : different) CHECK(!close_them || close(fd) == 0);
}
// At most so many bytes, which are to be these, and so many files.
static std::vector<int> receive(int from, const std::string& expected, size_t count, size_t most = 1000) {
  std::string text(most, '\0');
  alignas(cmsghdr) char control[CMSG_SPACE(253 * sizeof(int))];
  iovec data{text.data(), text.size()};
  msghdr message{.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  ssize_t got = recvmsg(from, &message, MSG_DONTWAIT);
  CHECK(got >= 0);
  text.resize(static_cast<size_t>(got));
  CHECK(text == expected);
  std::vector<int> files;
  auto* header = CMSG_FIRSTHDR(&message);
  CHECK(!header == (count == 0));
  if (!header) return files;
  files.resize((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
  memcpy(files.data(), CMSG_DATA(header), files.size() * sizeof(int));
  CHECK(files.size() == count);
  return files;
}
static Pair make_pipe(const char* content) {
  int fds[2];
  CHECK(pipe(fds) == 0 && write(fds[1], content, strlen(content)) == static_cast<ssize_t>(strlen(content)));
  return {fds[0], fds[1]};
}
static void reads(int fd, const std::string& expected) {
  char text[64]{};
  CHECK(read(fd, text, sizeof text) == static_cast<ssize_t>(expected.size()) && expected == text);
}
static void say(int fd, const char* text) {
  CHECK(write(fd, text, strlen(text)) == static_cast<ssize_t>(strlen(text)));
}

int main() {
  signal(SIGPIPE, SIG_IGN);
  Pair stream = make_pair(SOCK_STREAM), datagrams = make_pair(SOCK_DGRAM), packets = make_pair(SOCK_SEQPACKET);

  // A pipe of which both ends are in flight, in different places.
  Pair pipe = make_pipe("of a pipe");
  say(stream.one, "abc");
  send_files(stream.one, "x", {pipe.one});
  say(stream.one, "de");
  send_files(stream.one, "yyy", {pipe.other});
  send_files(stream.one, "zzz", {make_pipe("another").one, make_pipe("a third").one});

  // A file with a position that it shares with one that is open, a memfd with a content that nobody else has, and
  // what the kernel makes.
  int shared = open("shared", O_RDWR | O_CREAT, 0600), memory = memfd_create("in flight", 0);
  CHECK(shared >= 0 && memory >= 0);
  say(shared, "0123456789");
  CHECK(lseek(shared, 3, SEEK_SET) == 3);
  say(memory, "in memory");
  CHECK(lseek(memory, 3, SEEK_SET) == 3);
  int counter = eventfd(5, EFD_NONBLOCK), timer = timerfd_create(CLOCK_MONOTONIC, 0), watch = epoll_create1(0);
  itimerspec later{.it_interval = {}, .it_value = {1000, 0}};
  CHECK(timerfd_settime(timer, 0, &later, nullptr) == 0);
  epoll_event event{.events = EPOLLIN, .data = {.u64 = 4711}};
  CHECK(epoll_ctl(watch, EPOLL_CTL_ADD, counter, &event) == 0);
  send_files(datagrams.one, "files", {shared, memory}, false);
  close(memory);
  send_files(datagrams.one, "objects",
             {counter, timer, watch, static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0))});
  send_files(datagrams.one, "twice", {shared, shared}, false);

  // Listeners.
  sockaddr_in address{.sin_family = AF_INET};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  int tcp = socket(AF_INET, SOCK_STREAM, 0), unix_ = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un name{.sun_family = AF_UNIX, .sun_path = "listener"};
  CHECK(bind(tcp, reinterpret_cast<sockaddr*>(&address), length) == 0 && listen(tcp, 5) == 0);
  CHECK(getsockname(tcp, reinterpret_cast<sockaddr*>(&address), &length) == 0);
  CHECK(bind(unix_, reinterpret_cast<sockaddr*>(&name), sizeof name) == 0 && listen(unix_, 5) == 0);
  send_files(packets.one, "listeners", {tcp, unix_});
  CHECK(fcntl(packets.other, F_SETFL, O_NONBLOCK) == 0);

  // One within the other: each holds what the next one is received from.
  std::vector<Pair> chain;
  for (int i = 0; i < 8; ++i) chain.push_back(make_pair(i % 2 ? SOCK_STREAM : SOCK_DGRAM));
  for (size_t i = 0; i + 1 < chain.size(); ++i) send_files(chain[i].one, "next", {chain[i + 1].other});
  send_files(chain.back().one, "end", {make_pipe("at the end").one});
  for (const Pair& pair : chain) close(pair.one);

  // Circles.
  Pair self = make_pair(SOCK_SEQPACKET), left = make_pair(SOCK_STREAM), right = make_pair(SOCK_STREAM);
  send_files(self.one, "self", {self.other}, false);
  send_files(left.one, "right", {right.other}, false);
  send_files(right.one, "left", {left.other}, false);

  ready();

  CHECK(receive(stream.other, "a", 0, 1).empty());
  int first = receive(stream.other, "bcx", 1)[0], second = receive(stream.other, "deyyy", 1)[0];
  auto others = receive(stream.other, "zzz", 2);
  reads(first, "of a pipe");
  say(second, "again");
  reads(first, "again");
  CHECK(close(second) == 0);
  reads(first, "");
  reads(others[0], "another");
  reads(others[1], "a third");

  auto files = receive(datagrams.other, "files", 2), objects = receive(datagrams.other, "objects", 4),
       twice = receive(datagrams.other, "twice", 2);
  reads(files[0], "3456789");
  CHECK(lseek(shared, 0, SEEK_CUR) == 10 && lseek(twice[1], 1, SEEK_SET) == 1 && lseek(shared, 0, SEEK_CUR) == 1);
  CHECK(lseek(files[1], 0, SEEK_CUR) == 3 && lseek(files[1], 0, SEEK_SET) == 0);
  reads(files[1], "in memory");
  CHECK(epoll_wait(objects[2], &event, 1, 0) == 1 && event.data.u64 == 4711);
  uint64_t count = 0;
  CHECK(read(objects[0], &count, sizeof count) == sizeof count && count == 5);
  CHECK(epoll_wait(objects[2], &event, 1, 0) == 0);
  CHECK(timerfd_gettime(objects[1], &later) == 0 && later.it_value.tv_sec > 100 && later.it_value.tv_sec < 1000);
  CHECK(syscall(SYS_pidfd_send_signal, objects[3], 0, nullptr, 0) == 0);

  auto listeners = receive(packets.other, "listeners", 2);
  int client = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(connect(client, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  CHECK(accept(listeners[0], nullptr, nullptr) >= 0);
  client = socket(AF_UNIX, SOCK_STREAM, 0);
  CHECK(connect(client, reinterpret_cast<sockaddr*>(&name), sizeof name) == 0);
  CHECK(accept(listeners[1], nullptr, nullptr) >= 0);

  int next = chain.front().other;
  for (size_t i = 0; i + 1 < chain.size(); ++i) next = receive(next, "next", 1)[0];
  reads(receive(next, "end", 1)[0], "at the end");

  int again = receive(self.other, "self", 1)[0];
  say(self.one, "to itself");
  reads(again, "to itself");
  int right_again = receive(left.other, "right", 1)[0], left_again = receive(right.other, "left", 1)[0];
  say(left.one, "l");
  say(right.one, "r");
  reads(left_again, "l");
  reads(right_again, "r");
}
