// SPDX-License-Identifier: LGPL-2.1-or-later
// Where a stopped process can make system calls for us without any risk to it.
//
// Nothing is mapped into the process. Seven bytes (a system call, then rt_sigreturn) go into the padding of the
// ELF identification at the start of its vDSO, which is always mapped and executable and whose padding nobody
// reads; a signal frame and a scratch area go to the lowest pages of its main stack, which are taken only while
// they are all zero (the stack is grown where they are not). Whenever a thread is not in its own state, its stack
// pointer is at a frame that leads back there: if this program is killed, the thread falls through
// into rt_sigreturn and runs on.
//
// Many calls at once are a chain of such frames: each makes one call, rt_sigreturn leads to the next, and the last to
// the thread's own. It runs through the chain without a stop, also when nobody is left to stop it.
#pragma once

#include <optional>
#include <span>

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
  // Calls that are the same in any thread and whose answers lie in memory; what one returns is not known, nor whether
  // it has failed.
  Result<> make_all(std::span<const RemoteCall> calls);
  RemoteAddress scratch() const;
  static constexpr uint64_t kScratchSize = 8192;

  // Every thread in its own state again, and what we wrote taken back.
  Result<> abandon();

 private:
  Foothold(StoppedProcess& process, uint64_t code, uint64_t base, uint64_t original_word);
  Result<> enter(StoppedThread& thread);
  Result<> leave();
  Result<> run_chain(StoppedThread& thread, std::span<const RemoteCall> calls, int signal);

  StoppedProcess* process_;
  uint64_t code_;           // address of the seven bytes
  uint64_t base_;           // of our pages in the stack
  uint64_t original_word_;  // of the vDSO's header
  StoppedThread* current_ = nullptr;
  std::optional<RemoteCalls> calls_;
  Companion companion_;
};

}  // namespace ks::engine
