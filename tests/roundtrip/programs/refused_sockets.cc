// SPDX-License-Identifier: LGPL-2.1-or-later
// Has a socket of a kind or in a state that cannot be carried, named by its argument. Refused, it works on.
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <linux/xfrm.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <functional>
#include <map>
#include <thread>

#include "program.h"

using Verify = std::function<void()>;

static sockaddr_in loopback(int port = 0) {
  sockaddr_in address{.sin_family = AF_INET, .sin_port = htons(static_cast<uint16_t>(port))};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}
static int bound(int type) {
  int fd = socket(AF_INET, type, 0);
  sockaddr_in address = loopback();
  CHECK(fd >= 0 && bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  return fd;
}
static int connected(int to) {
  sockaddr_in address{};
  socklen_t length = sizeof address;
  int type = 0, fd;
  socklen_t type_length = sizeof type;
  CHECK(getsockopt(to, SOL_SOCKET, SO_TYPE, &type, &type_length) == 0);
  CHECK(getsockname(to, reinterpret_cast<sockaddr*>(&address), &length) == 0);
  fd = socket(AF_INET, type, 0);
  CHECK(fd >= 0 && connect(fd, reinterpret_cast<sockaddr*>(&address), length) == 0);
  return fd;
}
static Verify reads(int fd, const std::string& text) {
  return [=] {
    char bytes[64]{};
    CHECK(read(fd, bytes, sizeof bytes) == static_cast<ssize_t>(text.size()) && text == bytes);
  };
}
static Verify keeps(int fd) {
  if (fd < 0) skip(strerrordesc_np(errno));
  return [=] { CHECK(fcntl(fd, F_GETFD) >= 0); };
}
struct Pair {
  int one, other;
};
static Pair make_pair(int type) {
  int fds[2];
  CHECK(socketpair(AF_UNIX, type, 0, fds) == 0);
  return {fds[0], fds[1]};
}
static sockaddr_un name_of(const char* path) {
  sockaddr_un address{.sun_family = AF_UNIX};
  strcpy(address.sun_path, path);
  return address;
}
static int unix_bound(int type, const char* path) {
  sockaddr_un address = name_of(path);
  int fd = socket(AF_UNIX, type, 0);
  CHECK(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  return fd;
}
static int unix_connected(int type, const char* path) {
  sockaddr_un address = name_of(path);
  int fd = socket(AF_UNIX, type, 0);
  CHECK(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  return fd;
}

static bool poll_until_readable(int fd) {
  pollfd poll_{.fd = fd, .events = POLLIN, .revents = 0};
  return poll(&poll_, 1, 10'000) == 1;
}
// From now on it is in flight alone.
static void send_file(int over, int fd) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  char byte = 'x';
  iovec data{&byte, 1};
  msghdr message{.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  auto* header = CMSG_FIRSTHDR(&message);
  *header = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
  memcpy(CMSG_DATA(header), &fd, sizeof(int));
  CHECK(fd >= 0 && sendmsg(over, &message, 0) == 1 && close(fd) == 0);
}

// A process of which the target knows nothing: it connects, sends three bytes, and ends with the target.
template <class Connect>
static void outside(int listener, Connect connect) {
  int ends[2];
  CHECK(pipe(ends) == 0);
  pid_t between = fork_to([&] {
    // No child of the target's any more: adopted by who runs the test.
    if (fork()) _exit(0);
    int client = connect();
    close(listener);
    close(ends[1]);
    CHECK(setsid() > 0 && write(client, "abc", 3) == 3);
    char byte;
    CHECK(read(ends[0], &byte, 1) == 0);
    _exit(0);
  });
  CHECK(waitpid(between, nullptr, 0) == between);
  close(ends[0]);
}

static const std::map<std::string, std::function<Verify()>> kThings = {
    {"netlink_answering",
     [] {
       for (int i = 0; i < 400; ++i) make_pair(SOCK_STREAM);
       int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG);
       struct {
         nlmsghdr header{.nlmsg_len = sizeof *this,
                         .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                         .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
                         .nlmsg_seq = 1,
                         .nlmsg_pid = 0};
         unix_diag_req body{.sdiag_family = AF_UNIX, .udiag_states = ~0u, .udiag_show = UDIAG_SHOW_PEER};
       } request;
       CHECK(send(fd, &request, sizeof request, 0) == sizeof request);
       return Verify([=] {
         static char buffer[65536];
         ssize_t got = recv(fd, buffer, sizeof buffer, 0);
         CHECK(got > 0 && recv(fd, buffer, sizeof buffer, MSG_DONTWAIT) > 0);
       });
     }},
    {"netlink_generic", [] { return keeps(socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC)); }},
    {"netlink_ipsec", [] { return keeps(socket(AF_NETLINK, SOCK_RAW, NETLINK_XFRM)); }},
    {"netlink_log",
     [] {
       int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
       if (fd < 0) skip(strerrordesc_np(errno));
       struct {
         nlmsghdr header{.nlmsg_len = sizeof *this,
                         .nlmsg_type = NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG,
                         .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK,
                         .nlmsg_seq = 1,
                         .nlmsg_pid = 0};
         nfgenmsg body{.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0, .res_id = htons(47110)};
         nlattr attribute{.nla_len = sizeof attribute + sizeof command, .nla_type = NFULA_CFG_CMD};
         nfulnl_msg_config_cmd command{.command = NFULNL_CFG_CMD_BIND};
         char padding[3]{};
       } request;
       char answer[1024];
       CHECK(send(fd, &request, sizeof request, 0) == sizeof request);
       CHECK(recv(fd, answer, sizeof answer, 0) >= static_cast<ssize_t>(sizeof(nlmsghdr) + sizeof(int)));
       int error;
       memcpy(&error, answer + sizeof(nlmsghdr), sizeof error);
       if (error) skip("no logs of netfilter");
       return keeps(fd);
     }},
    {"netlink_routing", [] { return keeps(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)); }},
    {"netlink_routing_of_a_thread",
     [] {
       std::thread([] {
         for (;;) pause();
       }).detach();
       __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
       __user_cap_data_struct none[2]{};
       CHECK(syscall(SYS_capset, &header, none) == 0);  // of this thread alone
       return keeps(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
     }},
    {"netlink_unread",
     [] {
       int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
       nlmsghdr request{.nlmsg_len = sizeof request,
                        .nlmsg_type = NLMSG_NOOP,
                        .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK,
                        .nlmsg_seq = 1,
                        .nlmsg_pid = 0};
       CHECK(send(fd, &request, sizeof request, 0) == sizeof request);
       return Verify([=] {
         char answer[1024];
         CHECK(recv(fd, answer, sizeof answer, MSG_DONTWAIT) > 0);
       });
     }},
    {"packet_ring",
     [] {
       int fd = socket(AF_PACKET, SOCK_RAW, 0);
       tpacket_req ring{.tp_block_size = 4096, .tp_block_nr = 1, .tp_frame_size = 2048, .tp_frame_nr = 2};
       if (fd < 0) skip(strerrordesc_np(errno));
       CHECK(setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &ring, sizeof ring) == 0);
       return keeps(fd);
     }},
    {"packet_shared_out",
     [] {
       int fd = socket(AF_PACKET, SOCK_RAW, 0), group = 4711 | PACKET_FANOUT_HASH << 16;
       if (fd < 0) skip(strerrordesc_np(errno));
       sockaddr_ll address{};
       address.sll_family = AF_PACKET;
       address.sll_protocol = htons(0x88b6);
       CHECK(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
       CHECK(setsockopt(fd, SOL_PACKET, PACKET_FANOUT, &group, sizeof group) == 0);
       return keeps(fd);
     }},
    {"multipath", [] { return keeps(socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP)); }},
    {"sctp", [] { return keeps(socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP)); }},
    {"xdp", [] { return keeps(socket(AF_XDP, SOCK_RAW, 0)); }},
    {"pipe_on_its_way_outside",
     [] {
       int fds[2], sent[2];
       CHECK(pipe(fds) == 0 && pipe(sent) == 0);
       outside(fds[1], [&] {
         Pair between = make_pair(SOCK_STREAM);
         send_file(between.one, fds[1]);
         for (int fd : {fds[0], sent[0], sent[1]}) CHECK(close(fd) == 0);
         return between.one;
       });
       char byte;
       CHECK(close(fds[1]) == 0 && close(sent[1]) == 0 && read(sent[0], &byte, 1) == 0);
       return [=] {
         pollfd end{.fd = fds[0], .events = 0, .revents = 0};
         CHECK(poll(&end, 1, 0) == 0);
       };
     }},
    {"policy_of_its_own",
     [] {
       int fd = bound(SOCK_DGRAM);
       xfrm_userpolicy_info bypass{};
       bypass.sel.family = AF_INET;
       bypass.lft = {.soft_byte_limit = XFRM_INF,
                     .hard_byte_limit = XFRM_INF,
                     .soft_packet_limit = XFRM_INF,
                     .hard_packet_limit = XFRM_INF};
       bypass.dir = XFRM_POLICY_OUT;
       bypass.action = XFRM_POLICY_ALLOW;
       if (setsockopt(fd, SOL_IP, IP_XFRM_POLICY, &bypass, sizeof bypass)) skip(strerrordesc_np(errno));
       return keeps(fd);
     }},
    {"port_with_chooser",
     [] {
       int fd = socket(AF_INET, SOCK_DGRAM, 0), on = 1;
       sockaddr_in address = loopback();
       sock_filter first = BPF_STMT(BPF_RET | BPF_K, 0);
       sock_fprog chooser{.len = 1, .filter = &first};
       CHECK(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0);
       CHECK(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
       CHECK(setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &chooser, sizeof chooser) == 0);
       return keeps(fd);
     }},
    {"raw_unread",
     [] {
       int fd = socket(AF_INET, SOCK_RAW, 253);
       sockaddr_in to = loopback();
       if (fd < 0) skip(strerrordesc_np(errno));
       CHECK(sendto(fd, "abc", 3, 0, reinterpret_cast<sockaddr*>(&to), sizeof to) == 3);
       return Verify([=] {
         char packet[64];
         CHECK(recv(fd, packet, sizeof packet, MSG_DONTWAIT) == 23);
       });
     }},
    {"tcp_connection",
     [] {
       int listener = bound(SOCK_STREAM);
       CHECK(listen(listener, 1) == 0);
       outside(listener, [=] { return connected(listener); });
       return reads(accept(listener, nullptr, nullptr), "abc");
     }},
    {"tcp_keys",
     [] {
       int listener = bound(SOCK_STREAM);
       tcp_md5sig key{.tcpm_addr = {}, .tcpm_keylen = 3, .tcpm_key = "abc"};
       sockaddr_in peer = loopback();
       memcpy(&key.tcpm_addr, &peer, sizeof peer);
       if (setsockopt(listener, IPPROTO_TCP, TCP_MD5SIG, &key, sizeof key)) skip(strerrordesc_np(errno));
       CHECK(listen(listener, 1) == 0);
       return keeps(listener);
     }},
    {"tcp_not_accepted",
     [] {
       int listener = bound(SOCK_STREAM);
       CHECK(listen(listener, 1) == 0);
       int client = connected(listener);
       CHECK(fcntl(client, F_SETFD, FD_CLOEXEC) == 0);
       return [=] { CHECK(accept(listener, nullptr, nullptr) >= 0); };
     }},
    {"tcp_notification",
     [] {
       int listener = bound(SOCK_STREAM), on = 1;
       CHECK(listen(listener, 1) == 0);
       int client = connected(listener), accepted = accept(listener, nullptr, nullptr);
       CHECK(setsockopt(client, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof on) == 0);
       if (send(client, "abc", 3, MSG_ZEROCOPY) != 3) skip(strerrordesc_np(errno));
       reads(accepted, "abc")();
       return Verify([=] {
         char control[256];
         msghdr message{.msg_control = control, .msg_controllen = sizeof control};
         CHECK(recvmsg(client, &message, MSG_ERRQUEUE | MSG_DONTWAIT) == 0);
       });
     }},
    {"tcp_shut_down",
     [] {
       int fd = bound(SOCK_STREAM);
       CHECK(shutdown(fd, SHUT_RD) == -1 && errno == ENOTCONN);
       return [=] {
         char end;
         CHECK(read(fd, &end, 1) == 0);
       };
     }},
    {"tcp_urgent_filtered",
     [] {
       int listener = bound(SOCK_STREAM);
       CHECK(listen(listener, 1) == 0);
       int client = connected(listener), accepted = accept(listener, nullptr, nullptr);
       sock_filter all = BPF_STMT(BPF_RET | BPF_K, 0xffff);
       sock_fprog filter{.len = 1, .filter = &all};
       CHECK(setsockopt(accepted, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) == 0);
       CHECK(send(client, "d", 1, MSG_OOB) == 1 && write(client, "ef", 2) == 2);
       return Verify([=] {
         char byte;
         CHECK(recv(accepted, &byte, 1, MSG_OOB) == 1 && byte == 'd');
         reads(accepted, "ef")();
       });
     }},
    {"datagram_told_more",
     [] {
       int receiver = bound(SOCK_DGRAM), sender = connected(receiver), on = 1;
       CHECK(setsockopt(receiver, SOL_IP, IP_PKTINFO, &on, sizeof on) == 0 && write(sender, "abc", 3) == 3);
       return reads(receiver, "abc");
     }},
    {"datagram_after_error",
     [] {
       int receiver = bound(SOCK_DGRAM), peer = connected(receiver);
       sockaddr_in address{};
       socklen_t length = sizeof address;
       CHECK(getsockname(peer, reinterpret_cast<sockaddr*>(&address), &length) == 0);
       CHECK(connect(receiver, reinterpret_cast<sockaddr*>(&address), length) == 0);
       CHECK(write(peer, "abc", 3) == 3 && close(peer) == 0 && write(receiver, "d", 1) == 1);
       return Verify([=] {
         char byte;
         CHECK(read(receiver, &byte, 1) == -1 && errno == ECONNREFUSED);
         reads(receiver, "abc")();
       });
     }},
    {"datagram_hidden",
     [] {
       if (access("/sys/kernel/btf/vmlinux", R_OK)) skip("this kernel lets nobody count datagrams");
       int receiver = bound(SOCK_DGRAM), sender = connected(receiver), start = 0, off = -1;
       for (size_t bytes : {1, 0, 1}) CHECK(send(sender, "x", bytes, 0) == static_cast<ssize_t>(bytes));
       char byte;
       CHECK(setsockopt(receiver, SOL_SOCKET, SO_PEEK_OFF, &start, sizeof start) == 0);
       for (ssize_t bytes : {1, 0, 1}) CHECK(recv(receiver, &byte, 1, MSG_PEEK) == bytes);
       CHECK(setsockopt(receiver, SOL_SOCKET, SO_PEEK_OFF, &off, sizeof off) == 0);
       return Verify([=] {
         char text;
         for (ssize_t bytes : {1, 0, 1}) CHECK(recv(receiver, &text, 1, MSG_DONTWAIT) == bytes);
       });
     }},
    {"datagram_looking_ahead",
     [] {
       int receiver = bound(SOCK_DGRAM), sender = connected(receiver), offset = 1;
       CHECK(setsockopt(receiver, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset) == 0);
       CHECK(write(sender, "abc", 3) == 3);
       return Verify([=] {
         char bytes[4];
         CHECK(recv(receiver, bytes, 4, MSG_PEEK) == 2 && bytes[0] == 'b');
       });
     }},
    {"socket_error",
     [] {
       int receiver = bound(SOCK_DGRAM), sender = connected(receiver), on = 1;
       CHECK(setsockopt(sender, SOL_IP, IP_RECVERR, &on, sizeof on) == 0);
       close(receiver);
       CHECK(write(sender, "abc", 3) == 3);
       return [=] { CHECK(write(sender, "abc", 3) == -1 && errno == ECONNREFUSED); };
     }},
    {"other_network",
     [] {
       if (unshare(CLONE_NEWNET)) skip("no network namespaces");
       return keeps(bound(SOCK_DGRAM));
     }},
    {"unix_moved",
     [] {
       int fd = unix_bound(SOCK_DGRAM, "here");
       CHECK(mkdir("elsewhere", 0755) == 0 && rename("here", "elsewhere/there") == 0);
       return Verify([=] {
         sockaddr_un address = name_of("elsewhere/there");
         int client = socket(AF_UNIX, SOCK_DGRAM, 0);
         CHECK(sendto(client, "x", 1, 0, reinterpret_cast<sockaddr*>(&address), sizeof address) == 1);
         CHECK(poll_until_readable(fd));
       });
     }},
    {"unix_not_accepted",
     [] {
       int listener = unix_bound(SOCK_STREAM, "listener");
       CHECK(listen(listener, 2) == 0);
       int client = unix_connected(SOCK_STREAM, "listener");
       CHECK(write(client, "abc", 3) == 3);
       return [=] { reads(accept(listener, nullptr, nullptr), "abc")(); };
     }},
    {"unix_out_of_band",
     [] {
       Pair pair = make_pair(SOCK_STREAM);
       if (send(pair.one, "abc", 3, MSG_OOB) != 3) skip("UNIX sockets have no data out of band");
       return Verify([=] {
         char byte;
         CHECK(recv(pair.other, &byte, 1, MSG_OOB) == 1 && byte == 'c');
       });
     }},
    {"unix_message_from_abstract",
     [] {
       int receiver = unix_bound(SOCK_DGRAM, "receiver"), sender = unix_connected(SOCK_DGRAM, "receiver");
       sockaddr_un name{.sun_family = AF_UNIX, .sun_path = "\0kernel-swap-gone"};
       CHECK(bind(sender, reinterpret_cast<sockaddr*>(&name), sizeof(sa_family_t) + 17) == 0);
       CHECK(write(sender, "abc", 3) == 3 && close(sender) == 0);
       return reads(receiver, "abc");
     }},
    {"unix_message_from_outside",
     [] {
       int receiver = unix_bound(SOCK_DGRAM, "receiver"), on = 1;
       CHECK(setsockopt(receiver, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0);
       outside(receiver, [] { return unix_connected(SOCK_DGRAM, "receiver"); });
       char bytes[4];
       CHECK(recv(receiver, bytes, sizeof bytes, MSG_PEEK) == 3);
       return reads(receiver, "abc");
     }},
    {"unix_message_with_time",
     [] {
       Pair pair = make_pair(SOCK_DGRAM);
       int on = 1;
       CHECK(setsockopt(pair.other, SOL_SOCKET, SO_TIMESTAMP, &on, sizeof on) == 0 && write(pair.one, "abc", 3) == 3);
       return reads(pair.other, "abc");
     }},
    {"unix_log_in_flight",
     [] {
       Pair pair = make_pair(SOCK_STREAM);
       int log = open("/dev/kmsg", O_RDONLY);
       if (log < 0) skip("the kernel's log cannot be read");
       send_file(pair.one, log);
       return reads(pair.other, "x");
     }},
    {"unix_queue_in_flight",
     [] {
       Pair pair = make_pair(SOCK_DGRAM);
       int queue = mq_open("/kernel-swap-in-flight", O_RDWR | O_CREAT, 0600, nullptr);
       if (queue < 0 || mq_unlink("/kernel-swap-in-flight")) skip("no message queues");
       send_file(pair.one, queue);
       return reads(pair.other, "x");
     }},
    {"unix_name_gone",
     [] {
       int listener = unix_bound(SOCK_STREAM, "listener");
       CHECK(listen(listener, 1) == 0);
       (void)fork_to([&] {
         int client = unix_connected(SOCK_STREAM, "listener");
         CHECK(close(listener) == 0 && write(client, "abc", 3) == 3);
         pause();
       });
       int accepted = accept(listener, nullptr, nullptr);
       char bytes[4];
       CHECK(close(listener) == 0 && recv(accepted, bytes, sizeof bytes, MSG_PEEK) == 3);
       return reads(accepted, "abc");
     }},
    {"unix_not_accepted_from_outside",
     [] {
       int listener = unix_bound(SOCK_STREAM, "listener");
       CHECK(listen(listener, 1) == 0);
       outside(listener, [] { return unix_connected(SOCK_STREAM, "listener"); });
       CHECK(poll_until_readable(listener));
       return [=] { reads(accept(listener, nullptr, nullptr), "abc")(); };
     }},
    {"unix_not_accepted_of_several",
     [] {
       int listener = unix_bound(SOCK_STREAM, "listener");
       CHECK(listen(listener, 1) == 0);
       int client = unix_connected(SOCK_STREAM, "listener");
       (void)fork_to([] { pause(); });
       return [=] {
         int accepted = accept(listener, nullptr, nullptr);
         CHECK(write(client, "abc", 3) == 3);
         reads(accepted, "abc")();
       };
     }},
    {"unix_not_accepted_outside",
     [] {
       int fds[2];
       CHECK(pipe(fds) == 0);
       pid_t between = fork_to([&] {
         if (fork()) _exit(0);
         close(fds[0]);
         int listener = unix_bound(SOCK_STREAM, "listener");
         CHECK(setsid() > 0 && listen(listener, 1) == 0 && write(fds[1], "x", 1) == 1 && close(fds[1]) == 0);
         while (!told()) usleep(1000);
         int accepted = accept(listener, nullptr, nullptr);
         CHECK(write(accepted, "abc", 3) == 3);
         _exit(0);
       });
       char byte;
       CHECK(close(fds[1]) == 0 && waitpid(between, nullptr, 0) == between && read(fds[0], &byte, 1) == 1);
       CHECK(close(fds[0]) == 0);
       return reads(unix_connected(SOCK_STREAM, "listener"), "abc");
     }},
    {"unix_from_outside",
     [] {
       int listener = unix_bound(SOCK_STREAM, "listener");
       CHECK(listen(listener, 1) == 0);
       outside(listener, [] { return unix_connected(SOCK_STREAM, "listener"); });
       return reads(accept(listener, nullptr, nullptr), "abc");
     }},
};

int main(int, char** arguments) {
  auto thing = kThings.find(arguments[1]);
  CHECK(thing != kThings.end());
  Verify verify = thing->second();
  dprintf(STDOUT_FILENO, "target %d\n", getpid());
  ready();
  verify();
  return 0;
}
