// SPDX-License-Identifier: LGPL-2.1-or-later
// What no call tells of a socket, or tells only once: the error that is pending goes to whoever asks first
// (SO_ERROR).
#pragma once

#include <cstdint>
#include <map>

#include "base/result.h"

namespace ks::engine {

// Sequence numbers of a TCP connection and what is urgent there.
struct TcpInsides {
  // How far a byte that is announced as urgent has come (net/tcp.h).
  static constexpr uint16_t kHasCome = 0x100, kAnnounced = 0x200, kHasBeenRead = 0x400;
  uint16_t urgent =
      0;  // one of them, the first with the byte in its lower half; 0: none, or it is behind what is read
  uint32_t urgent_at = 0, read_up_to = 0, received = 0;
  uint32_t acknowledged = 0, urgent_sent = 0;  // behind that byte; no further than what is acknowledged: none
  bool operator==(const TcpInsides&) const = default;
};

struct SocketInsides {
  int error = 0;                     // 0: none; if it is said that there is one, something lies in its error queue
  bool peer_ended = false;           // of a stream: its peer's end has come
  uint32_t multicast_interface = 0;  // of IPv4: to which IP_MULTICAST_IF leads
  uint32_t datagrams = 0;            // of UDP: how many nobody has read
  uint32_t messages = 0;             // of UNIX datagrams and packets: how many nobody has read
  bool signs = false;                // of TCP: it has keys for its segments (TCP_MD5SIG, TCP_AO_ADD_KEY)
  bool has_policy = false;           // of IPsec, of its own (IP_XFRM_POLICY)
  bool has_chooser = false;  // a program that chooses among the sockets of its port (SO_ATTACH_REUSEPORT_EBPF)
  TcpInsides tcp{};

  // Of TCP, before the end of the connection, which is counted until it is read.
  uint32_t bytes_unread() const {
    uint32_t bytes = tcp.received - tcp.read_up_to;
    return bytes && peer_ended ? bytes - 1 : bytes;
  }
};

// Of all sockets that we have open, duplicates of another's too, by number. A program that we load into the kernel
// reads them where they lie (bpf(2), an iterator over our open files) and changes nothing. Fails where the kernel has
// no BTF or bpf(2), or lets nobody read in it (kernel_lockdown(7)).
Result<std::map<int, SocketInsides>> look_into_sockets();
// What takes longest of it, and needs to be done once: better before a service stands still.
void prepare_to_look_into_sockets();

}  // namespace ks::engine
