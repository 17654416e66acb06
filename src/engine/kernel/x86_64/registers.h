// SPDX-License-Identifier: LGPL-2.1-or-later
// How x86-64 makes a system call, how Linux restarts one, and what a signal frame looks like.
// Sources: the kernel's Documentation/arch/x86/, syscall(2), restart_syscall(2), sigreturn(2).
#pragma once

#include <linux/audit.h>
#include <sys/user.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace ks::engine {

using Registers = user_regs_struct;
using SyscallArguments = std::array<uint64_t, 6>;

// Values that a restarting system call leaves in the result register. They are the kernel's own and never reach
// a program; a tracer sees them at a stop on the way out of the call (include/linux/errno.h of the kernel).
inline constexpr long kRestartSys = 512, kRestartNoIntr = 513, kRestartNoHand = 514, kRestartBlock = 516;

// `syscall; push %rax`, then `push $15; pop %rax; syscall`, which is rt_sigreturn. With the stack pointer kFrameStack
// above the start of a signal frame, a thread that is let go anywhere in these eight bytes ends where the frame says.
// What the first call has returned is left in the frame, at kFrameResult: among flags that the kernel can do without.
inline constexpr std::array<uint8_t, 8> kLandingCode = {0x0f, 0x05, 0x50, 0x6a, 0x0f, 0x58, 0x0f, 0x05};
inline constexpr uint64_t kLandingReturn = 2;  // offset of the part that returns
inline constexpr uint64_t kFrameStack = 16, kFrameResult = 8;
inline constexpr uint64_t kSyscallLength = 2;
inline constexpr uint32_t kAuditArchitecture = AUDIT_ARCH_X86_64;  // of seccomp(2)

// Offset of the first system call instruction, or size() if there is none.
size_t find_syscall(std::span<const std::byte> text);

// `registers` about to make a system call at `instruction`. No restart of an earlier call is left in them.
Registers at_syscall(Registers registers, uint64_t instruction, long number, const SyscallArguments& arguments);

inline long syscall_number(const Registers& registers) { return static_cast<long>(registers.orig_rax); }
inline long syscall_result(const Registers& registers) { return static_cast<long>(registers.rax); }
inline bool is_error(int64_t result) { return result < 0 && result > -4096; }
inline bool in_syscall(const Registers& registers) { return syscall_number(registers) >= 0; }
inline uint64_t syscall_argument(const Registers& registers, int index) {
  const unsigned long long* const slots[] = {&registers.rdi, &registers.rsi, &registers.rdx,
                                             &registers.r10, &registers.r8,  &registers.r9};
  return *slots[index];
}

// epoll_wait(2) and epoll_pwait(2) have their time-out, in milliseconds, in a register.
inline int event_time_out(const Registers& registers) { return static_cast<int>(registers.r10); }
inline void set_event_time_out(Registers& registers, int milliseconds) {
  registers.r10 = static_cast<unsigned long long>(milliseconds);
}

// The same state with an interrupted system call turned back into one that is about to be made again.
Registers rewound(const Registers& registers);
// The same state after an interrupted system call that has ended with `result`.
Registers returned(const Registers& registers, long result);
// As rewound(), but only for a call that the kernel meant to restart; anything else is returned as it is.
Registers restarted(const Registers& registers);

// A process that runs 32-bit code.
inline bool is_compat(const Registers& registers) { return registers.cs != 0x33; }

// Where the first words of memory would continue if they are those of a signal frame.
inline constexpr size_t kFrameWords = 25;
std::optional<uint64_t> frame_instruction(std::span<const uint64_t, kFrameWords> words);

// The frame that rt_sigreturn(2) reads to continue with `registers`, `mask` and `xstate` (as PTRACE_GETREGSET of
// NT_X86_XSTATE gives it). `address` is where its first byte will lie, 64-byte aligned; at the system call itself the
// stack pointer has to be address + 8.
std::vector<std::byte> signal_frame(uint64_t address, const Registers& registers, uint64_t mask,
                                    std::span<const std::byte> xstate);
// One that borrows the extended registers from such a frame at `lender`.
inline constexpr size_t kBareFrameSize = 320;
std::array<std::byte, kBareFrameSize> bare_signal_frame(uint64_t lender, const Registers& registers, uint64_t mask,
                                                        std::span<const std::byte> xstate);

// XSAVE images as ptrace shows them (Intel SDM volume 1, chapter 13; kernel Documentation/arch/x86/xstate.rst).
// On a processor without XSAVE they end after the FXSAVE area.
inline constexpr size_t kFxsaveSize = 512;
uint64_t xstate_in_use(std::span<const std::byte> xstate);     // XSTATE_BV
uint64_t xstate_supported(std::span<const std::byte> xstate);  // what the kernel had enabled
// What the thread may do with memory of each protection key: two bits for each, the first of which forbids all
// access, the second writing (PKRU). 0 also where the processor has none.
uint32_t protection_rights(std::span<const std::byte> xstate);
// `from` in the size and with the features of `like`. Empty if it holds a feature that `like` has not, other than
// rights to protection keys.
std::vector<std::byte> fit_xstate(std::span<const std::byte> from, std::span<const std::byte> like);

}  // namespace ks::engine
