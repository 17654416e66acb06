// SPDX-License-Identifier: LGPL-2.1-or-later
// What is asked of a dump, and what it answers. Part of the engine's public face.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/kernel/next_kernel.h"

namespace ks::engine {

// One thing that cannot be carried over.
struct Reason {
  pid_t pid = 0;       // 0: the unit as a whole
  std::string object;  // "fd 7", "vma 7f0000000000-7f0000001000", "seccomp"
  std::string text;    // why, and what can be done about it
};

std::string to_string(const Reason& reason);  // "pid 41: fd 7: why"
// There are some, and all that they name may be gone in a moment.
bool are_for_now(std::span<const Reason> reasons);

struct Verdict {
  std::vector<Reason> reasons;
  std::vector<Reason> remarks;  // what is carried over otherwise than it was, as was asked for, or not by all kernels
  bool ready() const { return reasons.empty(); }
};

// Under what name the journal files a service's standard output (systemd-journald's stream protocol).
struct JournalIdentity {
  std::string unit;
  std::string identifier;
  int priority = 6;  // LOG_INFO
  bool level_prefix = true;
};

// A socket of the network by its ends, each a sockaddr_in or sockaddr_in6. One without a peer waits for anybody, at
// its address or, where that is none, at all of that family.
struct NetworkSocket {
  int protocol = 0;  // IPPROTO_TCP, IPPROTO_UDP or IPPROTO_UDPLITE
  std::string local, peer;
};

// Sockets that wait for connections or datagrams.
struct WaitingSockets {
  std::vector<NetworkSocket> sockets;
  uint64_t unread = 0;  // connections that nobody has accepted yet or that are being made, sockets with datagrams
};

struct DumpOptions {
  bool leave_running = false;
  // Namespaces of the first process that are not the caller's are a sandbox that whoever restores (systemd, for a
  // unit) makes anew; without this, a mount namespace other than the caller's is refused.
  bool foreign_namespaces = false;
  // Directories, as the processes see them, whose contents whoever restores puts there first, by name: files in
  // them may lie in memory, and come back as other inodes.
  std::vector<std::string> refilled;
  // Directories, as the processes see them, which are on disk and which the next boot empties: what lies in them is
  // like what lies in memory.
  std::vector<std::string> emptied;
  // Directories, as the processes see them, which the next boot finds empty and in which others make theirs anew: one
  // of those that is watched (inotify(7)) comes back as the one of that name.
  std::vector<std::string> made_anew;
  JournalIdentity journal;
  // A file on disk that has been deleted is kept by those alone who have it open; a larger one is refused.
  uint64_t largest_deleted_file = uint64_t{1} << 30;
  // Called before the state of the first connection is read with all sockets to which somebody who is not part of it
  // may send; from then on nothing may come through to them or from them, until they are restored. Without it
  // connections that lead outside are refused.
  std::function<Result<>(std::span<const NetworkSocket>)> hold;
  std::string no_hold;  // why there is none
  // A process outside that hands them sockets when it starts them (sd_listen_fds(3)), and does so before they are
  // restored: those are not made, but taken from RestoreOptions::into. 0: nobody.
  pid_t starter = 0;
  // A connection whose far end lies outside and keeps state of it comes back closed; without this it is refused.
  bool reset_external_sockets = false;
  // Under another kernel nothing is there of what a process has set up of the system's network: addresses, routes,
  // packet filters. Who may have done so, by a netlink(7) socket that he has, is restored without; without this, and
  // if there is to be another kernel, he is refused.
  bool leave_network_settings = false;
  // It is restored under another kernel: what would not come back there, or may not, is refused.
  std::optional<NextKernel> next_kernel;
};

}  // namespace ks::engine
