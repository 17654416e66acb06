// SPDX-License-Identifier: LGPL-2.1-or-later
// What UNIX sockets have received and nobody has read: datagrams and packets with their bounds and senders;
// credentials of who has sent them; streams whose pieces have other credentials. With the argument "empty", only
// messages without a byte among others: they show to the first who looks for them. With "many", more to a name than a
// socket takes that is made later.
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <vector>

#include "program.h"
#include "unix_names.h"

static void send_to(int fd, const std::string& name, const std::string& text) {
  sockaddr_un address;
  socklen_t length = name_of(name, address);
  auto size = static_cast<ssize_t>(text.size());
  CHECK(sendto(fd, text.data(), text.size(), 0, reinterpret_cast<sockaddr*>(&address), length) == size);
}
static void say(int fd, const std::string& text) {
  CHECK(send(fd, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
}
static void ask_for_credentials(int fd) {
  int on = 1;
  CHECK(setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0);
}
static void say_as(int fd, const std::string& text, pid_t pid, uid_t uid, gid_t gid) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(ucred))] = {};
  iovec data{const_cast<char*>(text.data()), text.size()};
  msghdr message{.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  auto* header = CMSG_FIRSTHDR(&message);
  *header = {.cmsg_len = CMSG_LEN(sizeof(ucred)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_CREDENTIALS};
  ucred who{.pid = pid, .uid = uid, .gid = gid};
  memcpy(CMSG_DATA(header), &who, sizeof who);
  CHECK(sendmsg(fd, &message, 0) == static_cast<ssize_t>(text.size()));
}
// One message, or one piece of a stream: text, the name of its sender, and where credentials are asked for, these.
struct Expected {
  std::string text, sender = {};
  pid_t pid = -1;
  uid_t uid = 0;
};
static void expect(int fd, const Expected& expected, int flags = 0) {
  std::string text(300000, '\0');
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(ucred))];
  sockaddr_un sender{}, other;
  iovec data{text.data(), text.size()};
  msghdr message{.msg_name = &sender,
                 .msg_namelen = sizeof sender,
                 .msg_iov = &data,
                 .msg_iovlen = 1,
                 .msg_control = control,
                 .msg_controllen = sizeof control};
  ssize_t got = recvmsg(fd, &message, MSG_DONTWAIT | flags);
  CHECK(got == static_cast<ssize_t>(expected.text.size()));
  text.resize(static_cast<size_t>(got));
  CHECK(text == expected.text);
  socklen_t length = expected.sender.empty() ? 0 : name_of(expected.sender, other);
  CHECK(message.msg_namelen == length && (length == 0 || memcmp(&sender, &other, length) == 0));
  auto* header = CMSG_FIRSTHDR(&message);
  CHECK(!header == (expected.pid < 0));
  if (!header) return;
  ucred who;
  memcpy(&who, CMSG_DATA(header), sizeof who);
  CHECK(who.pid == expected.pid && who.uid == expected.uid);
}
static void expect_all(int fd, const std::vector<Expected>& all) {
  for (const Expected& one : all) expect(fd, one);
  char byte;
  CHECK(recv(fd, &byte, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
}

static void empty() {
  Pair datagrams = make_pair(SOCK_DGRAM), packets = make_pair(SOCK_SEQPACKET);
  int receiver = bound(SOCK_DGRAM, "receiver"), sender = socket(AF_UNIX, SOCK_DGRAM, 0);
  connect_to(sender, "receiver");
  for (int fd : {datagrams.one, packets.one, sender})
    for (const char* text : {"", "first", "", "", "second", ""}) say(fd, text);

  ready();

  for (int fd : {datagrams.other, packets.other, receiver})
    expect_all(fd, {{""}, {"first"}, {""}, {""}, {"second"}, {""}});
}

static void many() {
  int receiver = bound(SOCK_DGRAM, "receiver"), sender = socket(AF_UNIX, SOCK_DGRAM, 0);
  connect_to(sender, "receiver");
  std::vector<Expected> sent;
  for (int i = 0; i < 40; ++i) {
    sent.push_back({"number " + std::to_string(i)});
    CHECK(send(sender, sent.back().text.data(), sent.back().text.size(), MSG_DONTWAIT) > 0);
  }

  ready();

  expect_all(receiver, sent);
}

int main(int count, char** arguments) {
  if (count > 1) {
    arguments[1] == std::string("many") ? many() : empty();
    return 0;
  }
  signal(SIGPIPE, SIG_IGN);
  std::string abstract = "@kernel-swap-messages-" + std::to_string(getpid()), large(200000, 'x');
  large.replace(0, 5, "large");

  Pair datagrams = make_pair(SOCK_DGRAM), packets = make_pair(SOCK_SEQPACKET), ended = make_pair(SOCK_SEQPACKET),
       orphan = make_pair(SOCK_DGRAM), stream = make_pair(SOCK_STREAM), told = make_pair(SOCK_SEQPACKET),
       ahead = make_pair(SOCK_STREAM), packets_ahead = make_pair(SOCK_SEQPACKET);
  say(datagrams.one, "first");
  say(datagrams.one, "second");
  say(datagrams.other, "back");
  say(packets.one, large);
  say(packets.one, "small");
  say(ended.one, "last");
  CHECK(shutdown(ended.one, SHUT_WR) == 0);
  say(orphan.one, "left");
  say(orphan.one, "behind");
  CHECK(close(orphan.one) == 0);

  // To names: by some without a name, by one that has another name, by one that is gone, and back.
  int receiver = bound(SOCK_DGRAM, "receiver"), hidden = bound(SOCK_DGRAM, "hidden"),
      anonymous = bound(SOCK_DGRAM, abstract), client = bound(SOCK_DGRAM, "client");
  int nameless = socket(AF_UNIX, SOCK_DGRAM, 0), gone = bound(SOCK_DGRAM, "gone");
  for (const auto& name : {std::string("receiver"), std::string("hidden"), abstract}) {
    send_to(nameless, name, "from nobody to " + name);
    send_to(anonymous, name, "from one without a file");
    send_to(gone, name, "from one that is gone");
    send_to(client, name, "from a client");
  }
  connect_to(client, "receiver");
  send_to(receiver, "client", "answer");
  CHECK(close(gone) == 0 && unlink("gone") == 0 && unlink("hidden") == 0);

  // Whoever asks for credentials gets those of all, as far as they have been told.
  int asking = bound(SOCK_DGRAM, "asking");
  send_to(nameless, "asking", "before");
  ask_for_credentials(asking);
  send_to(nameless, "asking", "after");
  ask_for_credentials(told.other);
  ask_for_credentials(stream.other);
  say(stream.one, "mi");
  say(stream.one, "ne");
  say_as(stream.one, "yours", getpid(), 5, 6);
  say_as(stream.one, "too", getpid(), 5, 6);
  pid_t child = fork_to([&] {
    say(stream.one, "child's");
    say(told.one, "by a child");
    pause();
  });
  char text[64];
  while (recv(told.other, text, sizeof text, MSG_PEEK | MSG_DONTWAIT) < 0) usleep(1000);
  // Who looks before he reads.
  int offset = 2;
  CHECK(setsockopt(ahead.other, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset) == 0);
  CHECK(setsockopt(packets_ahead.other, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset) == 0);
  say(ahead.one, "abcdef");
  say(packets_ahead.one, "abcdef");
  say(packets_ahead.one, "ghi");

  ready();

  // Nobody has looked ahead for good.
  for (int fd : {datagrams.one, datagrams.other, packets.other, ended.other, orphan.other, receiver, hidden,
                 anonymous, client, asking, told.other, stream.other}) {
    int from = 0;
    socklen_t size = sizeof from;
    CHECK(getsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &from, &size) == 0 && from == -1);
  }
  expect_all(datagrams.other, {{"first"}, {"second"}});
  expect_all(datagrams.one, {{"back"}});
  expect_all(packets.other, {{large}, {"small"}});
  expect(ended.other, {"last"});
  CHECK(read(ended.other, text, 1) == 0);
  expect_all(orphan.other, {{"left"}, {"behind"}});
  CHECK(send(orphan.other, "x", 1, 0) == -1 && errno == ECONNREFUSED);
  for (auto [fd, name] : {std::pair(receiver, std::string("receiver")), {hidden, "hidden"}, {anonymous, abstract}})
    expect_all(fd, {{"from nobody to " + name},
                    {"from one without a file", abstract},
                    {"from one that is gone", "gone"},
                    {"from a client", "client"}});
  expect_all(client, {{"answer", "receiver"}});
  say(client, "again");
  expect_all(receiver, {{"again", "client"}});

  expect_all(asking, {{"before", "", 0, 65534}, {"after", "", getpid()}});
  expect_all(told.other, {{"by a child", "", child}});
  expect_all(stream.other, {{"mine", "", getpid()}, {"yourstoo", "", getpid(), 5}, {"child's", "", child}});
  expect(ahead.other, {"cdef"}, MSG_PEEK);
  expect(packets_ahead.other, {"cdef"}, MSG_PEEK);
  expect(packets_ahead.other, {"ghi"}, MSG_PEEK);
}
