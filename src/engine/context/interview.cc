// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/context/interview.h"

#include <fmt/format.h>
#include <linux/keyctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "engine/kernel/pagemap.h"

namespace ks::engine {

namespace {

constexpr uint64_t kGetTidAddress = 40;   // PR_GET_TID_ADDRESS
constexpr uint64_t kGetMemoryMerge = 68;  // PR_GET_MEMORY_MERGE, since 6.4

// Where calls leave what they do not return.
struct Notes {
  stack_t alternate_stack;
  uint64_t clear_child_tid;
  int32_t parent_death_signal, memory_policy;
};

constexpr uint32_t kMostKeys = 16;

// Where nothing is mapped.
uint64_t hole(const std::vector<Vma>& areas) {
  uint64_t at = 0;
  for (const Vma& area : areas) {
    if (area.start >= at + kPageSize) break;
    at = area.end;
  }
  return at;
}

class Interview {
 public:
  Interview(const Kernel& kernel, Foothold& foothold, StoppedProcess& process)
      : kernel_(kernel), foothold_(foothold), process_(process) {}

  Result<ThreadAnswers> ask(StoppedThread& thread, ProcessAnswers& of_process) {
    calls_.clear();
    uint64_t notes = foothold_.scratch().value;
    bool leader = &thread == &process_.leader();
    size_t stack = add("sigaltstack", {SYS_sigaltstack, {0, notes + offsetof(Notes, alternate_stack)}});
    size_t address =
        add("PR_GET_TID_ADDRESS", {SYS_prctl, {kGetTidAddress, notes + offsetof(Notes, clear_child_tid)}});
    size_t death =
        add("PR_GET_PDEATHSIG", {SYS_prctl, {PR_GET_PDEATHSIG, notes + offsetof(Notes, parent_death_signal)}});
    size_t bits = add("PR_GET_SECUREBITS", {SYS_prctl, {PR_GET_SECUREBITS}});
    size_t policy = add("get_mempolicy", {SYS_get_mempolicy, {notes + offsetof(Notes, memory_policy)}});
    size_t dumpable = 0, merges = 0, end = 0, own = 0;
    if (leader) {
      dumpable = add("PR_GET_DUMPABLE", {SYS_prctl, {PR_GET_DUMPABLE}});
      merges = add("PR_GET_MEMORY_MERGE", {SYS_prctl, {kGetMemoryMerge}});
      end = add("brk", {SYS_brk});
    }
    RemoteCall keyring = keyring_id(KEY_SPEC_THREAD_KEYRING);
    bool tells_keyrings = foothold_.permits(thread, keyring);
    if (tells_keyrings) {
      own = add("keyctl", keyring);
      add("keyctl", keyring_id(KEY_SPEC_SESSION_KEYRING));
      if (leader) add("keyctl", keyring_id(KEY_SPEC_PROCESS_KEYRING));
    }
    // With no memory there, a key that may be used is told from one that may not.
    size_t keys = calls_.size();
    bool tells_keys = leader && kernel_.protection_keys && foothold_.permits(thread, use_of_key(1));
    for (uint32_t key = 1; tells_keys && key < kMostKeys; ++key) add("pkey_mprotect", use_of_key(key));
    std::vector<RemoteCall> calls;
    calls.reserve(calls_.size());
    for (const auto& [name, call] : calls_) calls.push_back(call);
    results_ = TRY(foothold_.make_all(thread, calls));
    auto noted = TRY(process_.memory->read<Notes>({notes}));

    ThreadAnswers answers{.alternate_stack = noted.alternate_stack,
                          .clear_child_tid = noted.clear_child_tid,
                          .parent_death_signal = noted.parent_death_signal,
                          .memory_policy = noted.memory_policy,
                          .tells_keyrings = tells_keyrings};
    for (size_t index : {stack, address, death}) TRY(answer(index));
    answers.securebits = static_cast<uint32_t>(TRY(answer(bits)));
    if (results_[policy] == -ENOSYS)  // a kernel without NUMA
      answers.memory_policy = 0;
    else
      TRY(answer(policy));
    if (leader) {
      of_process.dumpable = static_cast<int>(TRY(answer(dumpable)));
      of_process.merges = results_[merges] == 1;  // an error where the kernel has no such thing
      of_process.program_break = TRY(answer(end));
      if (tells_keys || !kernel_.protection_keys) of_process.protection_keys.emplace();
      for (uint32_t key = 1; tells_keys && key < kMostKeys; ++key, ++keys)
        if (results_[keys] == -ENOMEM)
          of_process.protection_keys->insert(key);
        else if (results_[keys] != -EINVAL)
          return fail(fmt::format("pkey_mprotect says {} of key {}", results_[keys], key));
    }
    if (tells_keyrings) {
      answers.thread_keyring = TRY(keyring_answer(own));
      answers.session_keyring = TRY(keyring_answer(own + 1));
      if (leader) of_process.keyring = TRY(keyring_answer(own + 2));
    }
    return answers;
  }

 private:
  struct Question {
    const char* name;
    RemoteCall call;
  };

  // To ask for a session keyring sets it to the user's, which it has been in effect all the time, where there is no
  // other (lookup_user_key() of the kernel); nothing else changes.
  static RemoteCall keyring_id(int which) { return {SYS_keyctl, {KEYCTL_GET_KEYRING_ID, as_argument(which), 0}}; }
  RemoteCall use_of_key(uint32_t key) const {
    return {SYS_pkey_mprotect, {hole(process_.areas), kPageSize, PROT_NONE, key}};
  }
  size_t add(const char* name, const RemoteCall& call) {
    calls_.push_back({name, call});
    return calls_.size() - 1;
  }
  Result<uint64_t> answer(size_t index) const {
    int64_t result = results_[index];
    if (is_error(result)) return fail_errno(calls_[index].name, static_cast<int>(-result));
    return static_cast<uint64_t>(result);
  }
  Result<std::optional<int32_t>> keyring_answer(size_t index) const {
    switch (-results_[index]) {
      case ENOKEY:
      case EKEYREVOKED:
      case EKEYEXPIRED:
      case ENOSYS:  // a kernel without keys, or a filter that says so
      case EPERM:
        return std::optional<int32_t>();
    }
    return std::optional(static_cast<int32_t>(TRY(answer(index))));
  }

  const Kernel& kernel_;
  Foothold& foothold_;
  StoppedProcess& process_;
  std::vector<Question> calls_;
  std::vector<int64_t> results_;
};

}  // namespace

Result<ProcessAnswers> interview(const Kernel& kernel, Foothold& foothold, StoppedProcess& process) {
  ProcessAnswers answers;
  Interview interview(kernel, foothold, process);
  for (StoppedThread& thread : process.threads)
    answers.threads.push_back(TRY(in(fmt::format("thread {}", thread.tid()), interview.ask(thread, answers))));
  return answers;
}

}  // namespace ks::engine
