// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/task_statistics.h"

#include <cstring>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/text.h"
#include "engine/kernel/iterator.h"
#include "engine/kernel/kernel_types.h"

namespace ks::engine {

namespace {

using namespace bpf;

// Where it lies. What each CPU has for itself is found from its run queue, to which its tasks lead.
struct Layout {
  uint32_t task_to_queue = 0, queue_to_cpu = 0;
  int64_t cpu_to_list = 0;
};

Result<Layout> find_layout(const KernelTypes& types) {
  return Layout{.task_to_queue = TRY(types.offset("task_struct", "se")) + TRY(types.offset("sched_entity", "cfs_rq")),
                .queue_to_cpu = TRY(types.offset("cfs_rq", "rq")),
                .cpu_to_list = int64_t{TRY(types.offset_in_cpu("listener_array"))} -
                               TRY(types.offset_in_cpu("runqueues")) + TRY(types.offset("listener_list", "list"))};
}

// What the program writes for a task: the first entry of a list, and what follows that.
struct Record {
  uint64_t first, second;
};

// On its stack.
constexpr int16_t kRecordAt = -static_cast<int16_t>(sizeof(Record));
constexpr int16_t kFirst = kRecordAt, kSecond = kRecordAt + int16_t{sizeof(uint64_t)};

std::vector<bpf_insn> write_program(const Layout& layout) {
  std::vector<bpf_insn> code = {
      copy(BPF_REG_6, BPF_REG_1),
      load(BPF_DW, BPF_REG_7, BPF_REG_6, kContextTask),
      leave_if_null(BPF_REG_7),
  };
  auto follow = [&](int16_t at, int64_t offset) {
    auto reading = read(at, sizeof(uint64_t), BPF_REG_7, offset);
    code.insert(code.end(), reading.begin(), reading.end());
    code.push_back(load(BPF_DW, BPF_REG_7, BPF_REG_10, at));
  };
  follow(kFirst, layout.task_to_queue);
  follow(kFirst, layout.queue_to_cpu);
  follow(kFirst, layout.cpu_to_list);
  follow(kSecond, 0);
  auto writing = write_down(kRecordAt, sizeof(Record), BPF_REG_6);
  code.insert(code.end(), writing.begin(), writing.end());
  lead_to_the_end(code);
  return code;
}

Result<Iterator> load_iterator() {
  auto types = TRY(KernelTypes::read());
  return Iterator::load(types, "task", write_program(TRY(find_layout(types))));
}

// A task of each CPU's own.
Result<std::vector<pid_t>> tasks_of_cpus() {
  constexpr const char* kThreads = "/proc/2/task/2/children";  // of the kernel
  std::vector<pid_t> tasks;
  for (std::string_view word : split_words(TRY(read_file(kThreads))))
    if (auto pid = parse_number<pid_t>(word))
      if (auto name = read_file("/proc/" + std::string(word) + "/comm"); name && name->starts_with("cpuhp/"))
        tasks.push_back(*pid);
  if (tasks.empty()) return fail("no tasks of single CPUs");
  return tasks;
}

// The first entry of an empty list is the list itself, which follows itself then.
Result<bool> is_empty(const std::string& told) {
  Record record{};
  if (told.size() < sizeof record) return fail("the kernel does not tell of it");
  std::memcpy(&record, told.data(), sizeof record);
  if (!record.first) return fail("the kernel does not tell of it");
  return record.first == record.second;
}

}  // namespace

Result<bool> has_listeners_to_task_ends() {
  static const Result<Iterator> iterator = load_iterator();
  if (!iterator) return std::unexpected(iterator.error());
  for (pid_t task : TRY(tasks_of_cpus()))
    if (!TRY(is_empty(TRY(iterator->run(task))))) return true;
  return false;
}

}  // namespace ks::engine
