// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kinds/inet_socket/datagrams.h"

#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <memory>
#include <span>

#include "engine/context/socket_state.h"
#include "engine/kernel/socket.h"
#include "engine/kinds/inet_socket/address.h"
#include "engine/kinds/inet_socket/forger.h"
#include "engine/target/undisturbed.h"

namespace ks::engine::inet_socket {

namespace {

constexpr size_t kLargest = 65536;  // a datagram, or the loopback interface's MTU
constexpr size_t kLargest6 = kLargest - sizeof(ip6_hdr) - sizeof(udphdr);

Result<size_t> memory_of(int fd, int what) {
  uint32_t counts[SK_MEMINFO_VARS] = {};
  socklen_t length = sizeof counts;
  if (::getsockopt(fd, SOL_SOCKET, SO_MEMINFO, counts, &length)) return fail_errno("SO_MEMINFO");
  return counts[what];
}
Result<size_t> memory_of_queue(int fd) { return memory_of(fd, SK_MEMINFO_RMEM_ALLOC); }

// In memory that a child fills.
class Queue {
 public:
  static Result<Queue> prepare(int fd) {
    // Of memory a datagram takes more than it holds, by far more than an entry.
    size_t bytes = sizeof(Head) + TRY(memory_of_queue(fd)) + 2 * kLargest;
    void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (at == MAP_FAILED) return fail_errno("memory for datagrams");
    return Queue(fd, {new (at) Head, Unmap{bytes}});
  }

  // Can be called again if who did it was killed.
  bool look() {
    head_->used = head_->count = 0;
    head_->tells_more = false;
    // An empty one that has been looked at before is passed over by a look from an offset on; only the first one can
    // be looked at without.
    ssize_t got = peek();
    if (got == 0) keep(0);
    bool done = got < 0 ? errno == EAGAIN : bool(set_number(fd_, SOL_SOCKET, SO_PEEK_OFF, 0));
    while (done && got >= 0) {
      got = peek();
      if (got >= 0) keep(static_cast<size_t>(got));
      if (got < 0) done = errno == EAGAIN;
    }
    return set_number(fd_, SOL_SOCKET, SO_PEEK_OFF, -1) && done;
  }

  bool tells_more() const { return head_->tells_more; }
  Result<> write(image::InetSocket& out) const {
    const std::byte* at = entries();
    for (uint32_t i = 0; i < head_->count; ++i) {
      Entry entry;
      std::memcpy(&entry, at, sizeof entry);
      at += sizeof entry;
      auto* datagram = out.add_datagrams();
      datagram->set_source(&entry.source, entry.source_bytes);
      datagram->set_data(at, entry.bytes);
      at += entry.bytes;
      bool six = entry.source.sin6_family == AF_INET6 && !is_mapped(datagram->source());
      if (six && (IN6_IS_ADDR_LINKLOCAL(&entry.source.sin6_addr) || entry.bytes > kLargest6))
        return refuse_for_now(
            "holds datagrams that nobody has read yet, of a link-local sender or larger than an interface takes, "
            "which is not supported yet");
    }
    return {};
  }

 private:
  struct Entry {
    uint32_t source_bytes, bytes;
    sockaddr_in6 source;
  };
  struct Head {
    size_t used = 0;
    uint32_t count = 0;
    bool tells_more = false;
    Entry next{};
  };
  struct Unmap {
    size_t bytes = 0;
    void operator()(Head* head) const { ::munmap(head, bytes); }
  };
  Queue(int fd, std::unique_ptr<Head, Unmap> head) : fd_(fd), head_(std::move(head)) {}

  std::byte* entries() const { return reinterpret_cast<std::byte*>(head_.get() + 1); }
  size_t room() const { return head_.get_deleter().bytes - sizeof(Head) - head_->used; }

  // Into the place of the next entry.
  ssize_t peek() {
    if (room() < sizeof(Entry) + kLargest) return errno = ENOBUFS, -1;
    iovec data{entries() + head_->used + sizeof(Entry), kLargest};
    char control[512];
    msghdr message{.msg_name = &head_->next.source,
                   .msg_namelen = sizeof head_->next.source,
                   .msg_iov = &data,
                   .msg_iovlen = 1,
                   .msg_control = control,
                   .msg_controllen = sizeof control,
                   .msg_flags = 0};
    ssize_t got = ::recvmsg(fd_, &message, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    head_->next.source_bytes = message.msg_namelen;
    if (got >= 0 && message.msg_controllen) head_->tells_more = true;
    return got;
  }
  void keep(size_t bytes) {
    head_->next.bytes = static_cast<uint32_t>(bytes);
    std::memcpy(entries() + head_->used, &head_->next, sizeof(Entry));
    head_->used += sizeof(Entry) + bytes;
    ++head_->count;
  }

  int fd_;
  std::unique_ptr<Head, Unmap> head_;
};

// To a port of the loopback interface.
Result<> forge(const Forger& forger, const image::InetSocket::Datagram& datagram, uint8_t protocol, in_port_t port) {
  const std::string& source = datagram.source();
  udphdr header{};
  header.source = as<sockaddr_in>(source).sin_port;  // in both families at the same place
  header.dest = port;
  // UDP-Lite says here how much is summed up, 0: all of it.
  if (protocol == IPPROTO_UDP) header.len = htons(static_cast<uint16_t>(sizeof header + datagram.data().size()));
  return forger.send(source, loopback_like(source, 0), protocol, bytes_of(header) + datagram.data(),
                     offsetof(udphdr, check));
}

// A port that nobody knows. Whoever is about to send without one gets it, even if he says not whereto.
Result<in_port_t> take_port(int fd) {
  if (::send(fd, "", 0, MSG_DONTWAIT) == 0 || errno != EDESTADDRREQ) return fail_errno("send");
  return as<sockaddr_in>(TRY(address_by(::getsockname, fd))).sin_port;  // in both families at the same place
}

Result<> give_port_back(int fd) {
  sockaddr nobody{.sa_family = AF_UNSPEC, .sa_data = {}};
  return ::connect(fd, &nobody, sizeof nobody) ? fail_errno("disconnect") : Result<>();
}

// A packet filter of this machine may not let it pass, which is what can befall datagrams at any time.
Result<> await_arrival(int fd, size_t before) {
  constexpr int kPatience = 1000;  // milliseconds
  for (int i = 0; i < kPatience && TRY(memory_of_queue(fd)) == before; ++i) ::usleep(1000);
  return {};
}

}  // namespace

Result<bool> has_datagrams(int fd) {
  pollfd poll{.fd = fd, .events = POLLIN, .revents = 0};
  if (::poll(&poll, 1, 0) < 0) return fail_errno("poll");
  return (poll.revents & POLLIN) != 0;
}

Result<size_t> bytes_being_sent(int fd) { return memory_of(fd, SK_MEMINFO_WMEM_ALLOC); }

Result<> read_datagrams(int fd, image::InetSocket& out) {
  auto queue = TRY(Queue::prepare(fd));
  if (!TRY(do_undisturbed([&] { return queue.look(); })))
    return refuse_for_now("holds datagrams that nobody has read yet, and more come in");
  if (queue.tells_more())
    return refuse_for_now(
        "holds datagrams that nobody has read yet, and is told more of them than their sender (IP_PKTINFO, "
        "SO_TIMESTAMP or the like), which is not supported yet");
  return queue.write(out);
}

Result<> put_datagrams(int fd, const image::InetSocket& socket) {
  if (socket.datagrams().empty()) return {};
  auto protocol = static_cast<uint8_t>(TRY(read_number(fd, SOL_SOCKET, SO_PROTOCOL)));
  auto forger = TRY(Forger::make());
  size_t bytes = 0;
  for (const auto& datagram : socket.datagrams()) bytes += datagram.data().size() + kLargest / 16;
  return with_wide_buffers(fd, 0, bytes, [&]() -> Result<> {
    in_port_t port = TRY(take_port(fd));
    for (const auto& datagram : socket.datagrams()) {
      size_t before = TRY(memory_of_queue(fd));
      TRY(in("a datagram", forge(forger, datagram, protocol, port)));
      TRY(await_arrival(fd, before));
    }
    return give_port_back(fd);
  });
}

}  // namespace ks::engine::inet_socket
