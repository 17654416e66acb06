// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <utility>

#include "base/fd.h"
#include "base/result.h"

namespace ks::engine {

// A child that has done `work`, which not every thread of ours could do, and waits until it is killed by the end of
// this object or of this program.
class Envoy {
 public:
  static Result<Envoy> send(const std::function<Result<std::string>()>& work);
  Envoy(Envoy&& other) noexcept
      : pid_(std::exchange(other.pid_, -1)), said_(std::move(other.said_)), leash_(std::move(other.leash_)) {}
  Envoy& operator=(Envoy&&) = delete;
  ~Envoy();

  pid_t pid() const { return pid_; }
  // What the work has returned.
  const std::string& said() const { return said_; }

 private:
  Envoy() = default;
  pid_t pid_ = -1;
  std::string said_;
  Fd leash_;  // whose other end it reads from: it ends with the last who has this one
};

}  // namespace ks::engine
