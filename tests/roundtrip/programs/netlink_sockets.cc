// SPDX-License-Identifier: LGPL-2.1-or-later
// Netlink sockets: new ones, with a port and options, in groups, with a filter, and connected to each other; the
// kernel and others answer them under their old ports. With "unprivileged": its process can set up no network any
// more.
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <sys/socket.h>

#include <vector>

#include "options.h"
#include "program.h"

static int make(int protocol, int type = SOCK_RAW) {
  int fd = socket(AF_NETLINK, type, protocol);
  CHECK(fd >= 0);
  return fd;
}
static sockaddr_nl address_of(unsigned port, unsigned groups = 0) {
  return {.nl_family = AF_NETLINK, .nl_pad = 0, .nl_pid = port, .nl_groups = groups};
}
static void bind_to(int fd, unsigned port, unsigned groups = 0) {
  sockaddr_nl address = address_of(port, groups);
  CHECK(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
}
static int connect_to(int fd, unsigned port, unsigned groups = 0) {
  sockaddr_nl address = address_of(port, groups);
  return connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address);
}
static unsigned port_of(int fd) {
  sockaddr_nl address{};
  socklen_t length = sizeof address;
  CHECK(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0);
  return address.nl_pid;
}
static std::string groups_of(int fd) {
  uint32_t bits[64]{};
  socklen_t length = sizeof bits;
  CHECK(getsockopt(fd, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, bits, &length) == 0);
  std::string text;
  for (int i = 0; i < 64 * 32; ++i)
    if (bits[i / 32] >> i % 32 & 1) text += std::to_string(i + 1) + " ";
  return text;
}

// What interface 1 is: an answer to this socket alone.
static void ask(int fd) {
  struct {
    nlmsghdr header{.nlmsg_len = sizeof *this,
                    .nlmsg_type = RTM_GETLINK,
                    .nlmsg_flags = NLM_F_REQUEST,
                    .nlmsg_seq = 7,
                    .nlmsg_pid = 0};
    ifinfomsg body{.ifi_family = AF_UNSPEC, .ifi_type = 0, .ifi_index = 1, .ifi_flags = 0, .ifi_change = 0};
  } request;
  CHECK(send(fd, &request, sizeof request, 0) == sizeof request);
  alignas(nlmsghdr) char answer[32768];
  CHECK(recv(fd, answer, sizeof answer, 0) > static_cast<ssize_t>(sizeof(nlmsghdr)));
  auto* header = reinterpret_cast<nlmsghdr*>(answer);
  CHECK(header->nlmsg_type == RTM_NEWLINK && header->nlmsg_seq == 7 && header->nlmsg_pid == port_of(fd));
}
static bool say(int from, unsigned port, unsigned groups, const char* text) {
  sockaddr_nl to = address_of(port, groups);
  return sendto(from, text, strlen(text), 0, reinterpret_cast<sockaddr*>(&to), sizeof to) ==
         static_cast<ssize_t>(strlen(text));
}
static void hear(int fd, const std::string& text) {
  char bytes[64]{};
  CHECK(recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) == static_cast<ssize_t>(text.size()) && text == bytes);
}

static void give_up_network() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2];
  CHECK(syscall(SYS_capget, &header, data) == 0);
  data[0].effective &= ~(1u << CAP_NET_ADMIN);
  data[0].permitted &= ~(1u << CAP_NET_ADMIN);
  CHECK(syscall(SYS_capset, &header, data) == 0);
}

int main(int argc, char** argv) {
  int fresh = make(NETLINK_ROUTE), route = make(NETLINK_ROUTE, SOCK_DGRAM | SOCK_NONBLOCK),
      chosen = make(NETLINK_ROUTE);
  bind_to(route, 0);
  for (int option : {NETLINK_EXT_ACK, NETLINK_CAP_ACK, NETLINK_GET_STRICT_CHK, NETLINK_NO_ENOBUFS})
    set(route, SOL_NETLINK, option, 1);
  bind_to(chosen, 0x7eadbeef);
  set(chosen, SOL_SOCKET, SO_RCVBUFFORCE, 1'000'000);
  int listens = make(NETLINK_ROUTE), devices = make(NETLINK_KOBJECT_UEVENT);
  bind_to(listens, 0);
  for (int group : {RTNLGRP_ND_USEROPT, RTNLGRP_NSID, RTNLGRP_NEXTHOP})
    set(listens, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group);
  sock_filter nothing[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
  sock_fprog program{1, nothing};
  CHECK(setsockopt(devices, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0);
  set(devices, SOL_SOCKET, SO_PASSCRED, 1);
  bind_to(devices, 0, 1);
  int one = make(NETLINK_USERSOCK), other = make(NETLINK_USERSOCK), stranger = make(NETLINK_USERSOCK),
      member = make(NETLINK_USERSOCK);
  for (int fd : {one, other, stranger, member}) bind_to(fd, 0);
  CHECK(connect_to(one, port_of(other)) == 0 && connect_to(other, port_of(one)) == 0);
  set(member, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, 29);
  CHECK(connect_to(stranger, 0, 1u << 28) == 0);
  // Where nothing belongs to it, one of netfilter is as good.
  if (int filters = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER); filters >= 0) {
    bind_to(filters, 0);
    set(filters, SOL_NETLINK, NETLINK_EXT_ACK, 1);
    CHECK(dup2(filters, 99) == 99 && close(filters) == 0);
  }
  std::vector<int> all = {fresh, route, chosen, listens, devices, one, other, stranger, member};
  if (fcntl(99, F_GETFD) >= 0) all.push_back(99);
  std::vector<unsigned> ports;
  std::vector<std::string> groups;
  for (int fd : all) ports.push_back(port_of(fd)), groups.push_back(groups_of(fd));
  int buffer = number(chosen, SOL_SOCKET, SO_RCVBUF);
  ask(route);
  if (argc > 1 && std::string(argv[1]) == "unprivileged") give_up_network();

  ready();

  for (size_t i = 0; i < all.size(); ++i) CHECK(port_of(all[i]) == ports[i] && groups_of(all[i]) == groups[i]);
  for (int option : {NETLINK_EXT_ACK, NETLINK_CAP_ACK, NETLINK_GET_STRICT_CHK, NETLINK_NO_ENOBUFS})
    CHECK(number(route, SOL_NETLINK, option) == 1 && number(fresh, SOL_NETLINK, option) == 0);
  CHECK(fcntl(route, F_GETFL) & O_NONBLOCK && number(chosen, SOL_SOCKET, SO_RCVBUF) == buffer);
  CHECK(number(devices, SOL_SOCKET, SO_PASSCRED) == 1);
  for (int fd : {fresh, route, chosen}) ask(fd);
  CHECK(write(one, "there", 5) == 5 && write(other, "and back", 8) == 8);
  hear(other, "there");
  hear(one, "and back");
  CHECK(!say(member, ports[5], 0, "not for me") && errno == ECONNREFUSED);
  CHECK(write(stranger, "all", 3) == -1 && errno == ECONNREFUSED);  // not by the kernel, which is told too
  hear(member, "all");
}
