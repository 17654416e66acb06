// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/x86_64/registers.h"

#include <asm/sigcontext.h>
#include <cpuid.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstring>

namespace ks::engine {

namespace {

constexpr size_t kSoftwareBytes = 464;          // in the FXSAVE area, what it leaves to software
constexpr size_t kXstateBv = kFxsaveSize;       // first word of the XSAVE header
constexpr uint64_t kFxsaveFeatures = 3;         // x87 and SSE
constexpr uint32_t kXsaveLeaf = 13, kPkru = 9;  // of CPUID; number of a feature

template <class T>
T load(std::span<const std::byte> bytes, size_t offset) {
  T value{};
  if (offset + sizeof value <= bytes.size()) std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

template <class T>
void store(std::span<std::byte> bytes, size_t offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}

// struct ucontext of the kernel's uapi, whose header collides with libc's.
struct KernelUcontext {
  uint64_t flags;
  uint64_t link;
  struct {
    uint64_t pointer;
    int32_t flags;
    uint32_t padding;
    uint64_t size;
  } stack;
  sigcontext context;
  uint64_t mask;
};

struct Frame {
  uint64_t return_address;  // popped by the handler's `ret`; rt_sigreturn expects it gone
  KernelUcontext ucontext;
};
static_assert(sizeof(sigcontext) == 256);
static_assert(offsetof(KernelUcontext, mask) == 40 + 256);

constexpr uint64_t kFpXstate = 1, kSigcontextSs = 2, kStrictRestoreSs = 4;  // UC_*

// Without its flags a frame says the same: they are about what segment the stack has, which in 64-bit code the kernel
// finds itself.
static_assert(kFrameResult == offsetof(Frame, ucontext.flags) && kFrameStack == kFrameResult + sizeof(uint64_t));
static_assert(sizeof(Frame) <= kBareFrameSize && kBareFrameSize % 64 == 0);

bool has_xsave(std::span<const std::byte> xstate) { return xstate.size() > kFxsaveSize; }

}  // namespace

size_t find_syscall(std::span<const std::byte> text) {
  for (size_t i = 0; i + 1 < text.size(); ++i)
    if (text[i] == std::byte{0x0f} && text[i + 1] == std::byte{0x05}) return i;
  return text.size();
}

Registers at_syscall(Registers registers, uint64_t instruction, long number, const SyscallArguments& arguments) {
  registers.rip = instruction;
  registers.rax = static_cast<unsigned long long>(number);
  registers.orig_rax = ~0ull;
  registers.rdi = arguments[0];
  registers.rsi = arguments[1];
  registers.rdx = arguments[2];
  registers.r10 = arguments[3];
  registers.r8 = arguments[4];
  registers.r9 = arguments[5];
  registers.eflags = 0x202;  // interrupts on, no trap flag, direction forward
  return registers;
}

Registers rewound(const Registers& registers) {
  Registers again = registers;
  again.rip -= kSyscallLength;
  again.rax = registers.orig_rax;
  again.orig_rax = ~0ull;
  return again;
}

Registers returned(const Registers& registers, long result) {
  Registers after = registers;
  after.rax = static_cast<unsigned long long>(result);
  after.orig_rax = ~0ull;
  return after;
}

Registers restarted(const Registers& registers) {
  if (!in_syscall(registers)) return registers;
  switch (-syscall_result(registers)) {
    case kRestartSys:
    case kRestartNoIntr:
    case kRestartNoHand:
    // rt_sigreturn forgets the restart block, so the call is made again whole: a sleep may be too long by what had
    // passed, but never ends with an EINTR that nobody sent.
    case kRestartBlock:
      return rewound(registers);
  }
  Registers plain = registers;
  plain.orig_rax = ~0ull;
  return plain;
}

std::optional<uint64_t> frame_instruction(std::span<const uint64_t, kFrameWords> words) {
  constexpr size_t kFlags = 1, kLink = 2, kInstruction = 22, kProcessorFlags = 23, kSegments = 24;
  static_assert(kInstruction ==
                (sizeof(uint64_t) + offsetof(KernelUcontext, context) + offsetof(sigcontext, rip)) / 8);
  constexpr uint64_t kAlwaysSet = 0x2, kKnown = 0x3fffff;
  bool is_frame = words[kFlags] <= (kFpXstate | kSigcontextSs | kStrictRestoreSs) && words[kLink] == 0 &&
                  (words[kProcessorFlags] & kAlwaysSet) && !(words[kProcessorFlags] & ~kKnown) &&
                  (words[kSegments] & 0xffff) == 0x33;
  if (!is_frame) return std::nullopt;
  return words[kInstruction];
}

std::array<std::byte, kBareFrameSize> bare_signal_frame(uint64_t lender, const Registers& registers, uint64_t mask,
                                                        std::span<const std::byte> xstate) {
  Frame frame{};
  sigcontext& context = frame.ucontext.context;
  context.r8 = registers.r8;
  context.r9 = registers.r9;
  context.r10 = registers.r10;
  context.r11 = registers.r11;
  context.r12 = registers.r12;
  context.r13 = registers.r13;
  context.r14 = registers.r14;
  context.r15 = registers.r15;
  context.rdi = registers.rdi;
  context.rsi = registers.rsi;
  context.rbp = registers.rbp;
  context.rbx = registers.rbx;
  context.rdx = registers.rdx;
  context.rax = registers.rax;
  context.rcx = registers.rcx;
  context.rsp = registers.rsp;
  context.rip = registers.rip;
  context.eflags = registers.eflags;
  context.cs = static_cast<uint16_t>(registers.cs);
  context.ss = static_cast<uint16_t>(registers.ss);
  context.fpstate = reinterpret_cast<_fpstate_64*>(lender + kBareFrameSize);
  frame.ucontext.flags = kSigcontextSs | kStrictRestoreSs | (has_xsave(xstate) ? kFpXstate : 0);
  frame.ucontext.mask = mask;
  // The kernel takes the alternate stack from the frame as well; SS_DISABLE here would remove the thread's. An
  // invalid size makes it keep what is set (it ignores the error).
  frame.ucontext.stack.flags = 0;
  frame.ucontext.stack.size = 1;
  std::array<std::byte, kBareFrameSize> bytes{};
  std::memcpy(bytes.data(), &frame, sizeof frame);
  return bytes;
}

std::vector<std::byte> signal_frame(uint64_t address, const Registers& registers, uint64_t mask,
                                    std::span<const std::byte> xstate) {
  auto bare = bare_signal_frame(address, registers, mask, xstate);
  std::vector<std::byte> bytes(bare.size() + xstate.size() + (has_xsave(xstate) ? FP_XSTATE_MAGIC2_SIZE : 0));
  std::memcpy(bytes.data(), bare.data(), bare.size());
  std::ranges::copy(xstate, bytes.begin() + kBareFrameSize);
  if (has_xsave(xstate)) {
    _fpx_sw_bytes software{};
    software.magic1 = FP_XSTATE_MAGIC1;
    software.extended_size = static_cast<uint32_t>(xstate.size()) + FP_XSTATE_MAGIC2_SIZE;
    software.xfeatures = xstate_supported(xstate);
    software.xstate_size = static_cast<uint32_t>(xstate.size());
    store(bytes, kBareFrameSize + kSoftwareBytes, software);
    store(bytes, kBareFrameSize + xstate.size(), static_cast<uint32_t>(FP_XSTATE_MAGIC2));
  }
  return bytes;
}

uint64_t xstate_in_use(std::span<const std::byte> xstate) {
  return xstate.size() > kFxsaveSize ? load<uint64_t>(xstate, kXstateBv) : kFxsaveFeatures;
}

uint64_t xstate_supported(std::span<const std::byte> xstate) {
  return xstate.size() > kFxsaveSize ? load<uint64_t>(xstate, kSoftwareBytes) : kFxsaveFeatures;
}

uint32_t protection_rights(std::span<const std::byte> xstate) {
  uint32_t size = 0, offset = 0, unused = 0;
  if (!(xstate_in_use(xstate) & 1 << kPkru) ||
      !__get_cpuid_count(kXsaveLeaf, kPkru, &size, &offset, &unused, &unused))
    return 0;
  return load<uint32_t>(xstate, offset);
}

std::vector<std::byte> fit_xstate(std::span<const std::byte> from, std::span<const std::byte> like) {
  uint64_t in_use = xstate_in_use(from), supported = xstate_supported(like);
  // Where there are no protection keys, rights to them are nothing that is missed.
  if (!(supported & 1 << kPkru)) in_use &= ~uint64_t{1 << kPkru};
  if (in_use & ~supported) return {};
  std::vector<std::byte> fitted(like.size());
  std::memcpy(fitted.data(), from.data(), std::min(from.size(), fitted.size()));
  if (like.size() > kFxsaveSize) {
    store(std::span(fitted), kSoftwareBytes, supported);
    store(std::span(fitted), kXstateBv, in_use);
  }
  return fitted;
}

}  // namespace ks::engine
