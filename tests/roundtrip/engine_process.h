// SPDX-License-Identifier: LGPL-2.1-or-later
// The engine at work in a process of its own, as in real life; it can be killed.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "base/fd.h"
#include "base/result.h"
#include "engine/engine.h"

namespace ks::test {

struct Outcome {
  enum class End { done, failed, refused, killed, hung } end;
  std::string text;  // of the error; of a refusal all reasons, one a line

  bool done() const { return end == End::done; }
};
std::ostream& operator<<(std::ostream& out, const Outcome& outcome);

struct DumpPlan {
  bool leave_running = false;
  bool foreign_namespaces = false;
  pid_t starter = 0;
  bool reset_external_sockets = false;
  bool leave_network_settings = false;
  std::optional<engine::NextKernel> next_kernel{};
  std::vector<std::string> emptied{}, made_anew{};
  std::chrono::milliseconds linger{0};  // between freezing and dumping
};

class EngineProcess {
 public:
  static EngineProcess dump(pid_t root, const std::string& directory, const DumpPlan& plan);
  static EngineProcess restore(const std::string& directory, pid_t into = 0);
  explicit EngineProcess(const std::function<Result<>()>& work);
  EngineProcess(EngineProcess&&) = default;

  pid_t pid() const { return pid_; }
  void kill();
  Outcome wait();

 private:
  pid_t pid_ = 0;
  Fd answer_;
};

// A restore; once more as long as a PID is somebody else's, for tests of other programs run at the same time.
Outcome restore_when_free(const std::string& directory);

}  // namespace ks::test
