// SPDX-License-Identifier: LGPL-2.1-or-later
// The way to the keeper of the hold (kernel-swap-hold.service).
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace ks::upgrade {

inline constexpr char kHoldSocket[] = "/run/kernel-swap/hold";
inline constexpr char kHoldUnit[] = "kernel-swap-hold.service";

class HoldClient {
 public:
  // ENOENT or ECONNREFUSED: there is no keeper.
  static Result<HoldClient> open(const std::string& path = kHoldSocket);
  // The same, as soon as one is there.
  static Result<HoldClient> await(const std::string& path = kHoldSocket);

  // Beside what is held of the unit; until it is lifted, or we end without keep(). Lines: see held_socket.h.
  Result<> hold(const std::string& unit, std::span<const std::string> lines);
  Result<> lift(const std::string& unit);
  // What we have asked for outlives us.
  Result<> keep();
  // Nothing is held any more, and the keeper ends.
  Result<> end();

 private:
  explicit HoldClient(Fd fd) : fd_(std::move(fd)) {}
  Result<> ask(std::string_view request);
  Fd fd_;
};

// Where there is a keeper; that nothing is held is no error.
void lift_if_held(const std::string& unit);
void end_hold();

}  // namespace ks::upgrade
