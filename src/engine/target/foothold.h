// SPDX-License-Identifier: LGPL-2.1-or-later
// Where a stopped process can make system calls for us without any risk to it.
//
// Nothing is mapped into the process. Eight bytes (a system call, then rt_sigreturn) go into the end of the ELF
// identification at the start of its vDSO, which is always mapped and executable: padding, and the ABI version, which
// nobody reads; a signal frame and a scratch area go to the lowest pages of its main stack, which are taken only
// while they are all zero (the stack is grown where they are not). Whenever a thread is not in its own state, its
// stack pointer is at a frame that leads back there: if this program is killed, the thread falls through into
// rt_sigreturn and runs on.
//
// Many calls at once are a chain of such frames: each makes one call, rt_sigreturn leads to the next, and the last to
// the thread's own. It runs through the chain without a stop, also when nobody is left to stop it. What a call
// returns is found in the frame behind it.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "engine/target/companion.h"
#include "engine/target/process.h"
#include "engine/target/remote_calls.h"

namespace ks::engine {

class Foothold {
 public:
  static Result<Foothold> establish(StoppedProcess& process);
  Foothold(Foothold&& other) noexcept;
  Foothold& operator=(Foothold&&) = delete;
  ~Foothold();

  // Calls on this thread. The pointer is good until calls on another thread are asked for.
  Result<RemoteCalls*> on(StoppedThread& thread);
  // Calls one after the other, whatever comes of each: what they returned, an error as its negative errno.
  Result<std::vector<int64_t>> make_all(StoppedThread& thread, std::span<const RemoteCall> calls);
  // The same, and `undo` after them, also if we are killed in the middle. Returns what the calls returned.
  Result<std::vector<int64_t>> make_and_undo(StoppedThread& thread, std::span<const RemoteCall> calls,
                                             const RemoteCall& undo);
  // For calls that are the same in any thread: one in which many are quick.
  StoppedThread& quickest();
  // Whether a call can be made at all: the thread's filters would do it no harm.
  bool permits(const StoppedThread& thread, const RemoteCall& call) const;
  RemoteAddress scratch() const;
  static constexpr uint64_t kScratchSize = 8192;

  // Every thread in its own state again, and what we wrote taken back.
  Result<> abandon();

 private:
  Foothold(StoppedProcess& process, uint64_t code, uint64_t base);
  Result<> enter(StoppedThread& thread);
  Result<> leave();
  Result<> run_chain(StoppedThread& thread, std::span<const RemoteCall> calls, int signal,
                     std::vector<int64_t>& results);

  StoppedProcess* process_;
  uint64_t code_;  // address of the eight bytes
  uint64_t base_;  // of our pages in the stack
  bool stop_taken_ = false;
  StoppedThread* current_ = nullptr;
  std::optional<RemoteCalls> calls_;
  Companion companion_;
};

}  // namespace ks::engine
