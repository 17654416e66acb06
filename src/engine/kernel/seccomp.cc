// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/seccomp.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace ks::engine {

namespace {

// The registers of classic BPF, and its step. Everything is forward, so every program ends.
class Machine {
 public:
  Machine(std::span<const sock_filter> code, const seccomp_data& call) : code_(code), call_(call) {}

  Result<uint32_t> run() {
    while (at_ < code_.size()) {
      const sock_filter& instruction = code_[at_++];
      switch (BPF_CLASS(instruction.code)) {
        case BPF_RET:
          if (BPF_RVAL(instruction.code) == BPF_A) return accumulator_;
          if (BPF_RVAL(instruction.code) == BPF_K) return instruction.k;
          return unknown(instruction);
        case BPF_JMP:
          TRY(jump(instruction));
          break;
        case BPF_ALU:
          if (TRY(compute(instruction))) break;
          return SECCOMP_RET_KILL_THREAD;  // division by zero ends a program with 0
        default:
          TRY(move(instruction));
      }
    }
    return fail("seccomp filter: runs past its end");
  }

 private:
  static std::unexpected<Error> unknown(const sock_filter& instruction) {
    return fail(fmt::format("seccomp filter: unknown instruction {:#x}", instruction.code));
  }
  uint32_t operand(const sock_filter& instruction) const {
    return BPF_SRC(instruction.code) == BPF_X ? index_ : instruction.k;
  }

  Result<> jump(const sock_filter& instruction) {
    if (BPF_OP(instruction.code) == BPF_JA) {
      at_ += instruction.k;
      return {};
    }
    uint32_t other = operand(instruction);
    bool holds = false;
    switch (BPF_OP(instruction.code)) {
      case BPF_JEQ:
        holds = accumulator_ == other;
        break;
      case BPF_JGT:
        holds = accumulator_ > other;
        break;
      case BPF_JGE:
        holds = accumulator_ >= other;
        break;
      case BPF_JSET:
        holds = accumulator_ & other;
        break;
      default:
        return unknown(instruction);
    }
    at_ += holds ? instruction.jt : instruction.jf;
    return {};
  }

  // False: a division by zero.
  Result<bool> compute(const sock_filter& instruction) {
    uint32_t other = operand(instruction);
    switch (BPF_OP(instruction.code)) {
      case BPF_ADD:
        accumulator_ += other;
        return true;
      case BPF_SUB:
        accumulator_ -= other;
        return true;
      case BPF_MUL:
        accumulator_ *= other;
        return true;
      case BPF_DIV:
        if (other == 0) return false;
        accumulator_ /= other;
        return true;
      case BPF_AND:
        accumulator_ &= other;
        return true;
      case BPF_OR:
        accumulator_ |= other;
        return true;
      case BPF_XOR:
        accumulator_ ^= other;
        return true;
      case BPF_LSH:
        accumulator_ <<= other & 31;
        return true;
      case BPF_RSH:
        accumulator_ >>= other & 31;
        return true;
      case BPF_NEG:
        accumulator_ = -accumulator_;
        return true;
    }
    return unknown(instruction);
  }

  Result<> move(const sock_filter& instruction) {
    constexpr uint16_t kLoadIndexLength = BPF_LDX | BPF_W | BPF_LEN, kLoadLength = BPF_LD | BPF_W | BPF_LEN;
    uint32_t k = instruction.k;
    bool of_memory = BPF_MODE(instruction.code) == BPF_MEM;
    if (BPF_CLASS(instruction.code) == BPF_ST || BPF_CLASS(instruction.code) == BPF_STX) of_memory = true;
    if (of_memory && k >= memory_.size()) return unknown(instruction);
    switch (instruction.code) {
      case BPF_LD | BPF_W | BPF_ABS:
        if (k % 4 || k >= sizeof call_) return unknown(instruction);
        std::memcpy(&accumulator_, reinterpret_cast<const char*>(&call_) + k, sizeof accumulator_);
        return {};
      case kLoadLength:
        accumulator_ = sizeof call_;
        return {};
      case kLoadIndexLength:
        index_ = sizeof call_;
        return {};
      case BPF_LD | BPF_IMM:
        accumulator_ = k;
        return {};
      case BPF_LDX | BPF_IMM:
        index_ = k;
        return {};
      case BPF_LD | BPF_MEM:
        accumulator_ = memory_[k];
        return {};
      case BPF_LDX | BPF_MEM:
        index_ = memory_[k];
        return {};
      case BPF_ST:
        memory_[k] = accumulator_;
        return {};
      case BPF_STX:
        memory_[k] = index_;
        return {};
      case BPF_MISC | BPF_TAX:
        index_ = accumulator_;
        return {};
      case BPF_MISC | BPF_TXA:
        accumulator_ = index_;
        return {};
    }
    return unknown(instruction);
  }

  std::span<const sock_filter> code_;
  const seccomp_data& call_;
  size_t at_ = 0;
  uint32_t accumulator_ = 0, index_ = 0;
  std::array<uint32_t, BPF_MEMWORDS> memory_{};
};

int32_t precedence(uint32_t result) { return static_cast<int32_t>(result & SECCOMP_RET_ACTION_FULL); }

}  // namespace

Result<uint32_t> run_filter(std::span<const sock_filter> code, const seccomp_data& call) {
  return Machine(code, call).run();
}

Result<uint32_t> filtered_action(std::span<const SeccompFilter> filters, const seccomp_data& call) {
  uint32_t strictest = SECCOMP_RET_ALLOW;
  for (const SeccompFilter& filter : filters) {
    uint32_t result = TRY(run_filter(filter.code, call));
    if (precedence(result) < precedence(strictest)) strictest = result;
  }
  return strictest & SECCOMP_RET_ACTION_FULL;
}

bool may_notify(std::span<const sock_filter> code) {
  return std::ranges::any_of(code, [](const sock_filter& instruction) {
    if (BPF_CLASS(instruction.code) != BPF_RET) return false;
    return BPF_RVAL(instruction.code) == BPF_A || (instruction.k & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_USER_NOTIF;
  });
}

bool is_allowed(uint32_t action) { return action == SECCOMP_RET_ALLOW || action == SECCOMP_RET_LOG; }

// Without a tracer that asked for it SECCOMP_RET_TRACE is ENOSYS, but another may come.
bool is_harmless(uint32_t action) { return is_allowed(action) || action == SECCOMP_RET_ERRNO; }

}  // namespace ks::engine
