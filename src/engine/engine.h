// SPDX-License-Identifier: LGPL-2.1-or-later
// The checkpoint engine: all that the rest of the project sees of it.
//
// A checkpoint is taken from outside: every thread is seized with ptrace(2), read through /proc and
// remote system calls, and either let go or killed. Should the engine die at any instant of a dump,
// the kernel detaches it and every thread runs on as if nothing had happened.
//
// All calls need root in the initial user namespace. Objects are to be used on the thread that made
// them, since ptrace binds a tracee to its tracer's thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/context/own_packets.h"
#include "engine/context/verdict.h"

namespace ks::engine {

// The processes of a control group and of the groups below it, or a process with its descendants.
struct Target {
  std::string cgroup;  // directory of a cgroup v2 group, e.g. /sys/fs/cgroup/system.slice/a.service
  pid_t root = 0;      // used where `cgroup` is empty
};

struct DumpReport {
  std::vector<pid_t> pids;  // of processes, parents first
  pid_t highest_pid = 0;    // of threads too
  pid_t lowest_pid = 0;
  std::vector<pid_t> remembered;  // PIDs of processes that have ended, which are needed for a moment
  uint64_t threads = 0;
  uint64_t memory_bytes = 0;  // written to the image
  double frozen_seconds = 0;  // from the first seize to the last thing read
};

// Processes under our hands. Its end, however it comes, gives them back unharmed.
class Frozen {
 public:
  Frozen(Frozen&&) noexcept;
  Frozen& operator=(Frozen&&) noexcept;
  ~Frozen();

  // Writes the image to `directory`, which must not exist. Nothing of it is left unless all of it is on disk.
  // What cannot be carried makes it a refusal, and verdict() then names every reason. What comes back otherwise than
  // it was, because the options ask for it, is named there too.
  Result<DumpReport> dump(const std::string& directory, const DumpOptions& options);
  // The same, with memory and image left out.
  Result<DumpReport> examine(const DumpOptions& options);
  const Verdict& verdict() const;

  // Ends the processes and returns when their PIDs are free again.
  Result<> kill();

  struct State;
  explicit Frozen(std::unique_ptr<State> state);

 private:
  std::unique_ptr<State> state_;
};

struct RestoreOptions {
  // A process whose root directory the restored processes get, and whose namespaces stand for those of the sandbox
  // that they had; 0: the caller's.
  pid_t into = 0;
  // The directory of the cgroup v2 group that stands for the one that was dumped; empty: that of `into` or the
  // caller.
  std::string cgroup;
  // PIDs with which these and others are to come back, and which may not be there yet.
  std::vector<pid_t> awaited;
  // Called when everything is in place and verified, before the first restored instruction runs. On an error
  // all restored processes are killed.
  std::function<Result<>()> before_thaw;
  // Called after that, before the first connection goes on: what its peer sends may come through from now on.
  std::function<void()> lift;
};

struct RestoreReport {
  std::vector<pid_t> pids;   // of processes, parents first
  std::vector<pid_t> roots;  // those whose parent is not in the image
  uint64_t memory_bytes = 0;
  std::vector<std::string>
      unreachable;  // sockets whose peers no route leads to, or not yet: "10.0.0.1:80 -> 10.0.0.2:9"
};

// What an image holds, read without restoring it.
struct ImageSummary {
  struct Process {
    pid_t pid = 0, ppid = 0, pgid = 0, sid = 0;
    std::string comm, executable;
    uint64_t threads = 0, areas = 0, descriptors = 0, memory_bytes = 0;
  };
  struct File {
    std::string name;
    uint64_t bytes = 0;
    std::string digest;
  };
  struct MappedFile {
    std::string path, build_id;  // empty where it has none
    uint64_t bytes = 0;
  };
  struct OpenFile {
    std::string kind;
    uint32_t version = 0;
    uint64_t count = 0;
  };
  uint32_t format = 0;
  std::string architecture, kernel, unit;
  int64_t created = 0;  // seconds since 1970
  std::vector<Process> processes;
  std::vector<MappedFile> mapped_files;
  std::vector<OpenFile> open_files;
  std::vector<File> files;
};

class Engine {
 public:
  // Probes what this kernel can do. A kernel that cannot carry anything is an error that says what it lacks.
  static Result<Engine> open();

  Engine(Engine&&) noexcept;
  Engine& operator=(Engine&&) noexcept;
  ~Engine();

  // Where the target, which runs on, waits for connections and datagrams.
  Result<WaitingSockets> waiting(const Target& target) const;

  // What takes long of a dump for another kernel and needs not be done while the target stands still.
  void prepare(const Target& target, const NextKernel& next) const;

  // Every thread of the target stopped. An empty target is an error.
  Result<Frozen> freeze(const Target& target) const;

  // Returns once the processes run, detached. On an error none of them is left.
  Result<RestoreReport> restore(const std::string& directory, const RestoreOptions& options) const;

  // Reads the whole image and compares every checksum.
  static Result<> verify(const std::string& directory);
  static Result<ImageSummary> inspect(const std::string& directory);

 private:
  struct State;
  explicit Engine(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace ks::engine
