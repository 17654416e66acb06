// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/keyrings.h"

#include <cstddef>
#include <string>

#include "engine/kernel/iterator.h"
#include "engine/kernel/kernel_types.h"

namespace ks::engine {

namespace {

using namespace bpf;

// What the program writes for each thread: where they lie, and there what they are called.
struct Record {
  uint64_t credentials, thread, process, session;
  ThreadKeyrings serials;
};
static_assert(sizeof(Record) % sizeof(uint64_t) == 0);
constexpr int64_t kRecordAt = -static_cast<int64_t>(sizeof(Record));
constexpr size_t kWord = sizeof(uint64_t);

Result<Iterator> load_iterator() {
  auto types = TRY(KernelTypes::read());
  auto at = [](size_t member) { return kRecordAt + static_cast<int64_t>(member); };
  auto code = begin(kContextTask);
  append(code, clear(kRecordAt, sizeof(Record)));
  append(code, read(at(offsetof(Record, credentials)), kWord, BPF_REG_7, TRY(types.offset("task_struct", "cred"))));
  code.push_back(load(BPF_DW, BPF_REG_7, BPF_REG_10, at(offsetof(Record, credentials))));
  constexpr size_t kSerials = offsetof(Record, serials);
  struct {
    const char* member;
    size_t key, serial;
  } const keyrings[] = {
      {"thread_keyring", offsetof(Record, thread), kSerials + offsetof(ThreadKeyrings, thread)},
      {"process_keyring", offsetof(Record, process), kSerials + offsetof(ThreadKeyrings, process)},
      {"session_keyring", offsetof(Record, session), kSerials + offsetof(ThreadKeyrings, session)},
  };
  uint32_t serial_at = TRY(types.offset("key", "serial"));
  for (const auto& [member, key, serial] : keyrings) {
    append(code, read(at(key), kWord, BPF_REG_7, TRY(types.offset("cred", member))));
    // Where there is none, nothing lies, and the serial is 0.
    code.push_back(load(BPF_DW, BPF_REG_8, BPF_REG_10, at(key)));
    append(code, read(at(serial), sizeof(int32_t), BPF_REG_8, serial_at));
  }
  append(code, read(at(kSerials + offsetof(ThreadKeyrings, user)), sizeof(uint32_t), BPF_REG_8,
                    TRY(types.offset("key", "uid"))));
  finish(code, kRecordAt, sizeof(Record));
  return Iterator::load(types, "task", code);
}

}  // namespace

Result<std::vector<ThreadKeyrings>> keyrings_of(pid_t pid) {
  static const Result<Iterator> iterator = load_iterator();
  if (!iterator) return std::unexpected(iterator.error());
  std::string written = TRY(iterator->run(pid));
  std::vector<ThreadKeyrings> threads;
  for (const auto& record : records<Record>(written)) threads.push_back(record.serials);
  if (threads.empty()) return fail("the kernel does not tell of its keyrings");
  return threads;
}

}  // namespace ks::engine
