// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kinds/io_uring/ring.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>

namespace ks::engine::io_uring {

namespace {

Result<std::span<std::byte>> map_part(int ring, uint64_t bytes, off_t offset) {
  void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring, offset);
  if (at == MAP_FAILED) return fail_errno("mmap of a ring");
  return std::span(static_cast<std::byte*>(at), bytes);
}

uint64_t request_bytes(const Params& params) {
  return params.flags & IORING_SETUP_SQE128 ? 2 * sizeof(io_uring_sqe) : sizeof(io_uring_sqe);
}

std::atomic_ref<uint32_t> word_at(std::span<std::byte> memory, uint32_t offset) {
  return std::atomic_ref(*reinterpret_cast<uint32_t*>(memory.data() + offset));
}

// An empty request is one for nothing (IORING_OP_NOP).
void prepare(const RingMemory& memory, const Params& params, uint8_t flags) {
  std::ranges::fill(memory.requests(), std::byte{});
  for (uint64_t at = offsetof(io_uring_sqe, flags); at < memory.requests().size(); at += request_bytes(params))
    memory.requests()[at] = std::byte{flags};
}

}  // namespace

uint64_t rings_bytes(const Params& params) {
  uint64_t completion = sizeof(io_uring_cqe) * (params.flags & IORING_SETUP_CQE32 ? 2 : 1);
  if (params.flags & kNoArray) return params.cq_off.cqes + params.cq_entries * completion;
  return params.sq_off.array + params.sq_entries * sizeof(uint32_t);
}

uint64_t requests_bytes(const Params& params) { return params.sq_entries * request_bytes(params); }

Result<Fd> set_up(Params& params) {
  Fd ring(static_cast<int>(::syscall(SYS_io_uring_setup, params.sq_entries, &params)));
  if (!ring) return fail_errno("io_uring_setup");
  return ring;
}

Result<RingMemory> RingMemory::map(int ring, const Params& params) {
  auto rings = TRY(map_part(ring, rings_bytes(params), IORING_OFF_SQ_RING));
  auto requests = map_part(ring, requests_bytes(params), IORING_OFF_SQES);
  if (!requests) ::munmap(rings.data(), rings.size());
  return RingMemory(rings, TRY(std::move(requests)));
}

RingMemory::RingMemory(RingMemory&& other) noexcept
    : rings_(std::exchange(other.rings_, {})), requests_(std::exchange(other.requests_, {})) {}

RingMemory::~RingMemory() {
  for (auto part : {rings_, requests_})
    if (!part.empty()) ::munmap(part.data(), part.size());
}

uint32_t RingMemory::read(uint32_t offset) const { return word_at(rings_, offset).load(); }
void RingMemory::write(uint32_t offset, uint32_t value) const { word_at(rings_, offset).store(value); }

std::optional<Advance> plan_advance(uint32_t taken, uint32_t given) {
  uint32_t silent = taken - given;
  // Several completions of one request look like fewer than none.
  if (silent > taken) return std::nullopt;
  return Advance{.all = taken, .silent = silent};
}

Enter enter_by_ourselves(int ring) {
  return [ring](uint32_t count) -> Result<uint32_t> {
    long taken = ::syscall(SYS_io_uring_enter, ring, count, 0, 0, nullptr, 0);
    if (taken < 0) return fail_errno("io_uring_enter");
    return static_cast<uint32_t>(taken);
  };
}

Result<> advance(const RingMemory& memory, const Params& params, const Advance& plan, const Enter& enter) {
  for (auto [flags, count] : {std::pair<uint8_t, uint32_t>(0, plan.all - plan.silent),
                              std::pair<uint8_t, uint32_t>(IOSQE_CQE_SKIP_SUCCESS, plan.silent)}) {
    if (count) prepare(memory, params, flags);
    while (count) {
      uint32_t some = std::min(count, params.sq_entries);
      memory.write(params.sq_off.tail, memory.read(params.sq_off.tail) + some);
      for (uint32_t left = some; left;) {
        uint32_t taken = TRY(enter(left));
        if (taken == 0 || taken > left) return fail("a ring takes no requests");
        left -= taken;
      }
      memory.write(params.cq_off.head, memory.read(params.cq_off.tail));
      count -= some;
    }
  }
  return {};
}

}  // namespace ks::engine::io_uring
