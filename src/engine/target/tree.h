// SPDX-License-Identifier: LGPL-2.1-or-later
// All threads of a target, stopped.
//
// Freezing is done by ptrace alone: should this program be killed, the kernel lets every thread go. A frozen
// cgroup would stay frozen.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "engine/target/process.h"

namespace ks::engine {

class FrozenTree {
 public:
  // The processes of the cgroup directory `cgroup` and of those below it; or, where it is empty, `root` and all
  // its descendants. Tries again for a while when a thread does not stop, as a vfork parent does not
  // before its child has called execve(2).
  static Result<FrozenTree> freeze(const std::string& cgroup, pid_t root);

  FrozenTree(FrozenTree&&) noexcept = default;
  FrozenTree& operator=(FrozenTree&&) noexcept = default;
  ~FrozenTree();  // thaws

  const std::string& cgroup() const { return cgroup_; }  // the directory; empty: a process and its descendants
  std::vector<StoppedProcess>& processes() { return processes_; }  // parents before children

  // From here on the kernel kills all of them should this program end.
  Result<> kill_with_us();
  // SIGKILL to all; returns when they are dead and every thread is reaped.
  Result<> kill();

 private:
  FrozenTree() = default;
  std::string cgroup_;
  std::vector<StoppedProcess> processes_;
};

}  // namespace ks::engine
