// SPDX-License-Identifier: LGPL-2.1-or-later
// The process from which all restored ones are cloned: a fork of the engine, emptied of everything but a scratch
// area and the vDSO, in the namespaces that they have in common and on their clocks.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "engine/context/restoring.h"

namespace ks::engine {

class Seed {
 public:
  // Fills in `restoring.vdso`. The seed's PID is none of `taken`.
  static Result<Seed> plant(Restoring& restoring, const std::string& time_offsets, const std::set<pid_t>& taken);
  Seed(Seed&& other) noexcept
      : pid_(std::exchange(other.pid_, 0)), thread_(std::move(other.thread_)), memory_(std::move(other.memory_)) {}
  Seed& operator=(Seed&&) = delete;
  ~Seed();  // kills it; its children get init as their parent

  pid_t pid() const { return pid_; }
  RemoteCalls& calls() { return thread_->calls; }
  const RemoteMemory& memory() const { return *memory_; }

 private:
  Seed() = default;
  pid_t pid_ = 0;
  std::unique_ptr<RestoredThread> thread_;
  std::optional<RemoteMemory> memory_;
};

// A hole for scratch and vDSO that none of `used` touches, away from where stacks and heaps grow to.
struct AddressRange {
  uint64_t start = 0, end = 0;
  bool grows_down = false;
};
Result<Parking> choose_parking(std::vector<AddressRange> used);

}  // namespace ks::engine
