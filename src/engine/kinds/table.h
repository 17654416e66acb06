// SPDX-License-Identifier: LGPL-2.1-or-later
// All open files of a target, each once however many descriptors and processes share it.
#pragma once

#include <map>
#include <span>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "engine/kinds/kind.h"

namespace ks::engine {

class OpenFileTable {
 public:
  // The id of the open file behind a descriptor, and what its own process is told of it.
  Result<uint32_t> add(StoppedProcess& process, int fd, FdInfo& info);
  std::span<const OpenFile> files() const { return files_; }
  // The file behind a descriptor of a process outside, where it is one of these.
  Result<const OpenFile*> find(pid_t pid, int fd) const;

 private:
  // Candidates for being one and the same: kcmp(2) decides. By device, inode, the number that the kernel gives an
  // eventfd, and flags.
  using Key = std::tuple<dev_t, ino_t, std::string, int>;
  struct Place {
    size_t at = 0;
    bool found = false;
  };
  // By halving, since the kernel gives them an order: thousands of timers have one inode.
  Result<Place> locate(std::span<const uint32_t> known, pid_t pid, int fd) const;
  // The process of which descriptors are being added.
  struct Current {
    pid_t pid = 0;
    int pidfd = -1;
    Fd links, infos;  // /proc/PID/fd and fdinfo
  };
  Result<> turn_to(pid_t pid);
  Result<OpenFile> look_at(int fd);
  Current current_;
  std::map<dev_t, uint64_t> file_systems_;
  std::vector<OpenFile> files_;
  std::map<Key, std::vector<uint32_t>> by_inode_;
  std::unordered_map<pid_t, Fd> processes_;
};

// Each kind dumps its own; what none owns is refused.
Result<> dump_open_files(Dumping& dumping, const OpenFileTable& table);

// The files of an image on their way back.
class ImageFiles {
 public:
  // An envelope of a kind or version that is not known is an error.
  static Result<ImageFiles> open(std::string_view envelopes);
  size_t count() const;
  // Into restoring.open_files, in the range of the engine's own; those that lead to processes, or all others.
  Result<> make(Restoring& restoring, bool of_processes) const;
  Result<> connect(Restoring& restoring) const;
  Result<> release(Restoring& restoring) const;

 private:
  using Step = Result<> (*Kind::*)(Restoring&, std::span<const Envelope>);
  Result<> each(Restoring& restoring, Step step) const;
  std::map<const Kind*, std::vector<Envelope>> by_kind_;
};

}  // namespace ks::engine
