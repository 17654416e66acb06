// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/aio.h"

#include <unistd.h>

#include <cstring>
#include <numeric>
#include <span>
#include <string>

#include "engine/kernel/iterator.h"
#include "engine/kernel/kernel_memory.h"
#include "engine/kernel/kernel_types.h"

namespace ks::engine {

namespace {

// What the program writes for each thread. One that has ended has no memory any more.
struct Record {
  uint64_t memory, table;
};
constexpr int64_t kRecordAt = -static_cast<int64_t>(sizeof(Record));

Result<std::vector<bpf_insn>> write_program(const KernelTypes& types) {
  using namespace bpf;
  constexpr int64_t kMemoryAt = kRecordAt + int64_t{offsetof(Record, memory)};
  auto code = begin(kContextTask);
  append(code, follow(kMemoryAt, TRY(types.offset("task_struct", "mm"))));
  append(code, read(kRecordAt + int64_t{offsetof(Record, table)}, sizeof(uint64_t), BPF_REG_7,
                    TRY(types.offset("mm_struct", "ioctx_table"))));
  code.push_back(leave_unless(BPF_REG_0, 0));
  finish(code, kRecordAt, sizeof(Record));
  return code;
}

// What it reads is 8 bytes; of shorter members the first ones.
class Insides {
 public:
  static Result<Insides> look_into() {
    auto types = TRY(KernelTypes::read());
    auto iterator = TRY(Iterator::load(types, "task", TRY(write_program(types))));
    auto cpus = TRY(offsets_of_cpus(types));
    return Insides(std::move(types), std::move(iterator), std::move(cpus));
  }

  Result<std::vector<AioContext>> contexts_of(pid_t pid) const {
    std::vector<AioContext> found;
    for (uint64_t at : TRY(addresses(pid)))
      if (at) found.push_back(TRY(context(at)));
    return found;
  }

 private:
  Insides(KernelTypes types, Iterator iterator, std::vector<uint64_t> cpus)
      : types_(std::move(types)), tables_(std::move(iterator)), cpus_(std::move(cpus)) {}

  // Of all that it has, with gaps.
  Result<std::vector<uint64_t>> addresses(pid_t pid) const {
    std::string written = TRY(tables_.run(pid));
    Record record{};
    if (written.size() < sizeof record) return fail("the kernel does not tell of its memory");
    std::memcpy(&record, written.data(), sizeof record);
    if (!record.table) return std::vector<uint64_t>();
    uint64_t count_at = record.table + TRY(types_.offset("kioctx_table", "nr"));
    uint64_t entries = record.table + TRY(types_.offset("kioctx_table", "table"));
    auto count = static_cast<uint32_t>(TRY(read_kernel(types_, std::span(&count_at, 1)))[0]);
    constexpr uint32_t kMost = 1 << 20;
    if (count > kMost) return fail("the kernel is unknown");
    std::vector<uint64_t> places(count);
    for (uint32_t i = 0; i < count; ++i) places[i] = entries + i * sizeof(uint64_t);
    return read_kernel(types_, places);
  }

  Result<AioContext> context(uint64_t at) const {
    // Of a reference counter that is spread over all CPUs (lib/percpu-refcount.c): otherwise somebody waits for it to
    // become 0.
    constexpr uint64_t kNotSpread = 3;
    std::vector<uint64_t> places;
    for (const char* member : {"user_id", "max_reqs", "nr_events", "tail"})
      places.push_back(at + TRY(types_.offset("kioctx", member)));
    places.push_back(at + TRY(types_.offset("kioctx", "reqs")) +
                     TRY(types_.offset("percpu_ref", "percpu_count_ptr")));
    auto words = TRY(read_kernel(types_, places));
    uint64_t counter = words[4];
    if (!counter || counter & kNotSpread) return fail("the kernel is unknown");
    return AioContext{.ring = words[0],
                      .requests = static_cast<uint32_t>(words[1]),
                      .slots = static_cast<uint32_t>(words[2]),
                      .tail = static_cast<uint32_t>(words[3]),
                      .in_flight = TRY(requests(counter))};
  }

  // A request is counted where it begins and taken off where it ends, last of all. When none begins, one that ends
  // while the CPUs are read one after the other counts at most once too often.
  Result<uint64_t> requests(uint64_t counter) const {
    constexpr uint64_t kOfContext = 1;  // which counts as long as it lives
    std::vector<uint64_t> places = cpus_;
    for (uint64_t& place : places) place += counter;
    auto counts = TRY(read_kernel(types_, places));
    uint64_t all = std::accumulate(counts.begin(), counts.end(), uint64_t{0});
    if (all < kOfContext) return fail("the kernel is unknown");
    return all - kOfContext;
  }

  KernelTypes types_;
  Iterator tables_;
  std::vector<uint64_t> cpus_;
};

}  // namespace

Result<std::vector<AioContext>> aio_contexts_of(pid_t pid) {
  static const Result<Insides> insides = Insides::look_into();
  if (!insides) return std::unexpected(insides.error());
  return insides->contexts_of(pid);
}

}  // namespace ks::engine
