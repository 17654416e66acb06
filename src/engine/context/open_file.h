// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "engine/kernel/proc.h"
#include "engine/kernel/socket_type.h"

namespace ks::engine {

// A duplicate of our own of a process's descriptor.
Result<Fd> fetch_descriptor(pid_t pid, int fd);

// Whom an open file signals: F_GETOWN_EX, F_GETSIG, F_GETOWNER_UIDS (fcntl(2)).
struct SignalOwner {
  f_owner_ex whom{};
  uid_t user = 0, effective_user = 0;
  int signal = 0;
};
Result<SignalOwner> read_signal_owner(int fd);

// One open file description; any number of descriptors may lead to it.
struct OpenFile {
  uint32_t id = 0;
  pid_t pid = 0;     // a process that has it,
  int process = -1;  // its pidfd,
  int fd = -1;       // and under which number
  std::string link;  // where /proc/PID/fd/N leads
  struct stat stat{};
  uint64_t file_system = 0;  // statfs(2), f_type
  bool vanishes = false;     // with the next boot: what its name leads to
  FdInfo info;
  std::optional<SocketType> socket;  // where it is one
  SignalOwner owner;
  std::string within;  // in flight (SCM_RIGHTS): in which one; then maybe no process has it, but we

  // A duplicate of our own. It shares position and flags with the service's: change neither.
  Result<Fd> fetch() const;
  std::string magic_link() const;  // "/proc/PID/fd/N"
  std::string object() const {
    return within.empty() ? fmt::format("fd {} ({})", fd, link) : fmt::format("{}, in flight in {}", link, within);
  }
  // Flags for open(2) or F_SETFL, without those that only mattered at opening and without O_ASYNC, which
  // is restored with the owner that it signals.
  int flags() const;
};

}  // namespace ks::engine
