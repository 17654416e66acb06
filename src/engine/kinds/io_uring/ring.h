// SPDX-License-Identifier: LGPL-2.1-or-later
// A ring in our own hands: its memory, and how it is brought to where another one was.
#pragma once

#include <linux/io_uring.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <utility>

#include "base/fd.h"
#include "base/result.h"
#include "engine/kernel/ring_layout.h"

namespace ks::engine::io_uring {

using Params = io_uring_params;

uint64_t rings_bytes(const Params& params);
uint64_t requests_bytes(const Params& params);

// With what `params` ask for; they then say what has been given.
Result<Fd> set_up(Params& params);

class RingMemory {
 public:
  static Result<RingMemory> map(int ring, const Params& params);
  RingMemory(RingMemory&& other) noexcept;
  RingMemory& operator=(RingMemory&&) = delete;
  ~RingMemory();

  std::span<std::byte> rings() const { return rings_; }
  std::span<std::byte> requests() const { return requests_; }
  uint32_t read(uint32_t offset) const;
  void write(uint32_t offset, uint32_t value) const;

 private:
  RingMemory(std::span<std::byte> rings, std::span<std::byte> requests) : rings_(rings), requests_(requests) {}
  std::span<std::byte> rings_, requests_;
};

// Requests for nothing that bring a new ring to where another one was. The last ones leave no completion.
struct Advance {
  uint32_t all = 0, silent = 0;
  bool operator==(const Advance&) const = default;
};
// Nothing: they cannot.
std::optional<Advance> plan_advance(uint32_t taken, uint32_t given);

// Submits so many; returns how many have been taken.
using Enter = std::function<Result<uint32_t>(uint32_t)>;
Enter enter_by_ourselves(int ring);
// A new ring, whose memory is as the kernel has left it.
Result<> advance(const RingMemory& memory, const Params& params, const Advance& plan, const Enter& enter);

}  // namespace ks::engine::io_uring
