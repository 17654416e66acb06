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
  explicit OpenFileTable(const Dumping& dumping) : dumping_(dumping) {}

  struct Entry {
    int number = -1;
    uint32_t file = 0;  // its id
    bool close_on_exec = false;
    std::vector<std::string> locks;  // lines of fdinfo, those of its own process
  };
  // All descriptors of a process, by number.
  Result<std::vector<Entry>> add(const StoppedProcess& process);
  // A duplicate of our own of what is in flight within another.
  Result<Entry> add(Fd in_flight, std::string within);
  std::span<const OpenFile> files() const { return files_; }
  // The file behind a descriptor of a process outside, where it is one of these.
  Result<const OpenFile*> find(pid_t pid, int fd) const;

 private:
  // Candidates for being one and the same: kcmp(2) decides. By device, inode, the number that the kernel gives an
  // eventfd, and flags.
  using Key = std::tuple<dev_t, ino_t, std::string, int>;
  struct Candidate {
    uint32_t id = 0;
    pid_t pid = 0;
    int fd = -1;
  };
  struct Place {
    size_t at = 0;
    bool found = false;
  };
  // By halving, since the kernel gives them an order: thousands of timers have one inode.
  static Result<Place> locate(std::span<const Candidate> known, pid_t pid, int fd);
  // The process of which descriptors are being added.
  struct Current {
    pid_t pid = 0;
    int pidfd = -1;
    Fd infos;  // /proc/PID/fdinfo
  };
  Result<> turn_to(pid_t pid);
  // From any thread: each looks at some of them.
  Result<OpenFile> look_at(const DescriptorLink& descriptor) const;
  Result<Entry> add(OpenFile file);
  const Dumping& dumping_;
  Current current_;
  Fd own_links_;  // /proc/self/fd
  std::map<dev_t, uint64_t> file_systems_;
  std::vector<OpenFile> files_;
  std::map<Key, std::vector<Candidate>> by_inode_;
  std::unordered_map<pid_t, Fd> processes_;
  std::vector<Fd> in_flight_;
};

// What is in flight within files of the table becomes part of it, and what is in flight within that.
Result<> add_files_in_flight(Dumping& dumping, OpenFileTable& table);

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
