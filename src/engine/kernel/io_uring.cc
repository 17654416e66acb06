// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/io_uring.h"

#include <time.h>
#include <unistd.h>

#include <initializer_list>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "engine/kernel/iterator.h"
#include "engine/kernel/kernel_memory.h"
#include "engine/kernel/kernel_types.h"

namespace ks::engine {

namespace {

using namespace bpf;

// What the programs write for each object that they see.
struct FileRecord {
  uint64_t fd, file, context;
};
struct AreaRecord {
  uint64_t start, file;
};
struct TaskRecord {
  uint64_t task, user;  // what it has as a user of rings
};

Result<std::vector<bpf_insn>> file_program(const KernelTypes& types) {
  constexpr auto kAt = -static_cast<int64_t>(sizeof(FileRecord));
  auto code = begin(kContextFile);
  append(code, {
                   load(BPF_W, BPF_REG_1, BPF_REG_6, kContextFd),
                   store(BPF_DW, BPF_REG_1, kAt + int64_t{offsetof(FileRecord, fd)}),
                   store(BPF_DW, BPF_REG_7, kAt + int64_t{offsetof(FileRecord, file)}),
                   load(BPF_DW, BPF_REG_1, BPF_REG_7, TRY(types.offset("file", "private_data"))),
                   store(BPF_DW, BPF_REG_1, kAt + int64_t{offsetof(FileRecord, context)}),
               });
  finish(code, kAt, sizeof(FileRecord));
  return code;
}

Result<std::vector<bpf_insn>> area_program(const KernelTypes& types) {
  constexpr auto kAt = -static_cast<int64_t>(sizeof(AreaRecord));
  auto code = begin(kContextArea);
  append(code, {
                   load(BPF_DW, BPF_REG_1, BPF_REG_7, TRY(types.offset("vm_area_struct", "vm_start"))),
                   store(BPF_DW, BPF_REG_1, kAt + int64_t{offsetof(AreaRecord, start)}),
                   load(BPF_DW, BPF_REG_1, BPF_REG_7, TRY(types.offset("vm_area_struct", "vm_file"))),
                   leave_if_null(BPF_REG_1),
                   store(BPF_DW, BPF_REG_1, kAt + int64_t{offsetof(AreaRecord, file)}),
               });
  finish(code, kAt, sizeof(AreaRecord));
  return code;
}

Result<std::vector<bpf_insn>> task_program(const KernelTypes& types) {
  constexpr auto kAt = -static_cast<int64_t>(sizeof(TaskRecord));
  auto code = begin(kContextTask);
  append(code, {
                   store(BPF_DW, BPF_REG_7, kAt + int64_t{offsetof(TaskRecord, task)}),
                   load(BPF_DW, BPF_REG_1, BPF_REG_7, TRY(types.offset("task_struct", "io_uring"))),
                   store(BPF_DW, BPF_REG_1, kAt + int64_t{offsetof(TaskRecord, user)}),
               });
  finish(code, kAt, sizeof(TaskRecord));
  return code;
}

// A member of a member.
using Path = std::initializer_list<std::pair<const char*, const char*>>;

std::optional<uint32_t> find(const KernelTypes& types, Path path) {
  uint32_t at = 0;
  for (auto [structure, member] : path) {
    auto offset = types.offset(structure, member);
    if (!offset) return std::nullopt;
    at += *offset;
  }
  return at;
}

// Something that a ring may have beyond requests and completions, which shows in one member.
struct Extra {
  uint32_t at;
  uint32_t bytes;
  uint64_t none;  // what stands there if it has not
  const char* what;
};

class Extras {
 public:
  explicit Extras(const KernelTypes& types) : types_(types) {}

  bool may_have(const char* what, uint32_t bytes, Path path, uint64_t none = 0) {
    auto at = find(types_, path);
    if (at) found_.push_back({*at, bytes, none, what});
    return at.has_value();
  }
  std::vector<Extra> found() && { return std::move(found_); }

 private:
  const KernelTypes& types_;
  std::vector<Extra> found_;
};

// Names have come and gone: of what every kernel has, one has to be there.
Result<std::vector<Extra>> find_extras(const KernelTypes& types) {
  constexpr const char* kRing = "io_ring_ctx";
  constexpr uint64_t kTracksNothing = 255;  // IO_URING_NAPI_TRACKING_INACTIVE
  Extras extras(types);
  bool known = extras.may_have("registered files", 4, {{kRing, "nr_user_files"}}) ||
               extras.may_have("registered files", 4,
                               {{kRing, "file_table"}, {"io_file_table", "data"}, {"io_rsrc_data", "nr"}});
  known &= extras.may_have("registered buffers", 4, {{kRing, "nr_user_bufs"}}) ||
           extras.may_have("registered buffers", 4, {{kRing, "buf_table"}, {"io_rsrc_data", "nr"}});
  known &= extras.may_have("personalities", 8, {{kRing, "personalities"}, {"xarray", "xa_head"}});
  known &= extras.may_have("restrictions", 1, {{kRing, "restrictions"}, {"io_restriction", "registered"}}) ||
           (extras.may_have("restrictions", 1, {{kRing, "restrictions"}, {"io_restriction", "op_registered"}}) &&
            extras.may_have("restrictions", 1, {{kRing, "restrictions"}, {"io_restriction", "reg_registered"}}));
  known &= extras.may_have("buffers to choose from", 8, {{kRing, "io_bl_xa"}, {"xarray", "xa_head"}});
  known &= extras.may_have("limits of workers", 8, {{kRing, "iowq_limits"}});
  known &= extras.may_have("completions that it has lost", 8, {{kRing, "check_cq"}});
  if (!known) return fail("the kernel is unknown");
  extras.may_have("buffers to choose from", 8, {{kRing, "io_bl"}});
  extras.may_have("a filter", 8, {{kRing, "bpf_filters"}});
  extras.may_have("a filter", 8, {{kRing, "restrictions"}, {"io_restriction", "bpf_filters"}});
  extras.may_have("busy polling", 1, {{kRing, "napi_enabled"}});
  extras.may_have("busy polling", 1, {{kRing, "napi_track_mode"}}, kTracksNothing);
  extras.may_have("a clock", 4, {{kRing, "clockid"}}, CLOCK_MONOTONIC);
  extras.may_have("a region for waiting", 8, {{kRing, "cq_wait_arg"}});
  extras.may_have("a region of memory", 8, {{kRing, "param_region"}, {"io_mapped_region", "pages"}});
  extras.may_have("a queue of a network interface", 8, {{kRing, "zcrx_ctxs"}, {"xarray", "xa_head"}});
  extras.may_have("a queue of a network interface", 8, {{kRing, "ifq"}});
  extras.may_have("operations of BPF", 8, {{kRing, "bpf_ops"}});
  return std::move(extras).found();
}

uint64_t first_bytes(uint64_t word, uint32_t bytes) {
  constexpr uint32_t kBits = 8;
  return bytes == sizeof word ? word : word & ((uint64_t{1} << bytes * kBits) - 1);
}

class Insides {
 public:
  static Result<Insides> look() {
    auto types = TRY(KernelTypes::read());
    auto files = TRY(Iterator::load(types, "task_file", TRY(file_program(types))));
    auto areas = TRY(Iterator::load(types, "task_vma", TRY(area_program(types))));
    auto tasks = TRY(Iterator::load(types, "task", TRY(task_program(types))));
    auto extras = TRY(find_extras(types));
    return Insides(std::move(types), std::move(files), std::move(areas), std::move(tasks), std::move(extras));
  }

  Result<std::map<int, RingInsides>> rings(std::span<const int> fds) const {
    std::map<int, RingInsides> found;
    std::set<int> wanted(fds.begin(), fds.end());
    for (const auto& record : records<FileRecord>(TRY(files_.run(::getpid()))))
      if (auto fd = static_cast<int>(record.fd); wanted.contains(fd) && !found.contains(fd)) {
        auto ring = TRY(look_at(record.context));
        ring.file = record.file;
        found.emplace(fd, std::move(ring));
      }
    if (found.size() != wanted.size()) return fail("the kernel does not tell of a ring");
    return found;
  }

  Result<std::map<int, uint64_t>> behind(std::span<const int> fds) const {
    std::map<int, uint64_t> found;
    std::set<int> wanted(fds.begin(), fds.end());
    for (const auto& record : records<FileRecord>(TRY(files_.run(::getpid()))))
      if (auto fd = static_cast<int>(record.fd); wanted.contains(fd)) found.emplace(fd, record.context);
    return found;
  }

  Result<std::map<uint64_t, uint64_t>> areas(pid_t pid) const {
    std::map<uint64_t, uint64_t> found;
    for (const auto& record : records<AreaRecord>(TRY(areas_.run(pid)))) found.emplace(record.start, record.file);
    return found;
  }

  Result<uint64_t> task(pid_t tid) const {
    auto found = records<TaskRecord>(TRY(tasks_.run_for_thread(tid)));
    if (found.size() != 1) return fail("the kernel does not tell of a thread");
    return found.front().task;
  }

  Result<std::set<pid_t>> registered(std::span<const pid_t> pids) const {
    std::set<uint64_t> tasks;
    for (const auto& record : records<TaskRecord>(TRY(tasks_.run())))
      if (record.user && TRY(has_registered(record.user))) tasks.insert(record.task);
    std::set<pid_t> found;
    for (pid_t pid : tasks.empty() ? std::span<const pid_t>() : pids)
      for (const auto& record : records<TaskRecord>(TRY(tasks_.run(pid))))
        if (tasks.contains(record.task)) found.insert(pid);
    return found;
  }

 private:
  Insides(KernelTypes types, Iterator files, Iterator areas, Iterator tasks, std::vector<Extra> extras)
      : types_(std::move(types)),
        files_(std::move(files)),
        areas_(std::move(areas)),
        tasks_(std::move(tasks)),
        extras_(std::move(extras)) {}

  Result<RingInsides> look_at(uint64_t ring) const {
    std::vector<uint64_t> places;
    for (const char* member : {"flags", "sq_entries", "cq_entries", "cached_sq_head", "cached_cq_tail",
                               "submitter_task", "user", "io_ev_fd"})
      places.push_back(ring + TRY(types_.offset("io_ring_ctx", member)));
    uint64_t overflow = ring + TRY(types_.offset("io_ring_ctx", "cq_overflow_list"));
    places.push_back(overflow);
    size_t basic = places.size();
    for (const Extra& extra : extras_) places.push_back(ring + extra.at);
    auto words = TRY(read_kernel(types_, places));
    RingInsides insides{.setup = static_cast<uint32_t>(words[0]),
                        .submissions = static_cast<uint32_t>(words[1]),
                        .completions = static_cast<uint32_t>(words[2]),
                        .taken = static_cast<uint32_t>(words[3]),
                        .given = static_cast<uint32_t>(words[4]),
                        .submitter = words[5],
                        .charged = TRY(user_id(words[6])),
                        .in_flight = TRY(in_flight(ring)),
                        .overflown = words[8] != overflow};  // a list that is empty leads to itself
    TRY(look_at_eventfd(words[7], insides));
    for (size_t i = 0; i < extras_.size() && insides.more.empty(); ++i)
      if (first_bytes(words[basic + i], extras_[i].bytes) != extras_[i].none) insides.more = extras_[i].what;
    return insides;
  }

  Result<> look_at_eventfd(uint64_t told, RingInsides& ring) const {
    if (!told) return {};
    constexpr uint32_t kBits = 8;
    auto whole = types_.offset("io_ev_fd", "eventfd_async");  // a bit field before 6.13
    uint32_t flag = whole ? *whole * kBits : TRY(types_.bit("io_ev_fd", "eventfd_async"));
    const uint64_t places[] = {told + TRY(types_.offset("io_ev_fd", "cq_ev_fd")), told + flag / kBits};
    auto words = TRY(read_kernel(types_, places));
    ring.eventfd = words[0];
    ring.eventfd_async = words[1] >> flag % kBits & 1;
    return {};
  }

  Result<std::optional<uint32_t>> user_id(uint64_t user) const {
    if (!user) return std::nullopt;
    uint64_t at = user + TRY(types_.offset("user_struct", "uid"));  // kuid_t begins with it
    return static_cast<uint32_t>(TRY(read_kernel(types_, std::span(&at, 1)))[0]);
  }

  // A ring counts all requests that have been allocated for it, each CPU for itself; those that are over are kept for
  // later ones, in a list. So what is read last is right about one that ends meanwhile, or counts it once too often.
  Result<uint64_t> in_flight(uint64_t ring) const {
    constexpr uint64_t kNotSpread = 3;  // lib/percpu-refcount.c: somebody waits for it to become 0
    uint64_t counter_at =
        ring + TRY(types_.offset("io_ring_ctx", "refs")) + TRY(types_.offset("percpu_ref", "percpu_count_ptr"));
    uint64_t counter = TRY(read_kernel(types_, std::span(&counter_at, 1)))[0];
    if (!counter || counter & kNotSpread) return fail("the kernel is unknown");
    static const Result<std::vector<uint64_t>> cpus = offsets_of_cpus(types_);
    if (!cpus) return std::unexpected(cpus.error());
    std::vector<uint64_t> places = *cpus;
    for (uint64_t& place : places) place += counter;
    auto counts = TRY(read_kernel(types_, places));
    uint64_t all = std::accumulate(counts.begin(), counts.end(), uint64_t{0});
    if (!all) return 0;
    uint64_t over = TRY(count_kept(ring));
    if (over > all) return fail("the kernel is unknown");
    return all - over;
  }

  Result<uint64_t> count_kept(uint64_t ring) const {
    uint64_t kept = TRY(length_of_list(ring + TRY(types_.offset("io_ring_ctx", "submit_state")) +
                                       TRY(types_.offset("io_submit_state", "free_list")) +
                                       TRY(types_.offset("io_wq_work_node", "next"))));
    auto locked = types_.offset("io_ring_ctx", "locked_free_nr");  // before 6.10
    if (!locked) return kept;
    uint64_t at = ring + *locked;
    return kept + static_cast<uint32_t>(TRY(read_kernel(types_, std::span(&at, 1)))[0]);
  }

  // Each leads to the next with its first word.
  Result<uint64_t> length_of_list(uint64_t head) const {
    constexpr uint64_t kMost = 1 << 17;
    uint64_t length = 0;
    for (uint64_t at = head;;) {
      auto chain = TRY(follow_kernel(types_, at));
      for (uint64_t next : chain) {
        if (!next) return length;
        if (++length > kMost) return fail("the kernel is unknown");
      }
      at = chain.back();
    }
  }

  Result<bool> has_registered(uint64_t user) const {
    constexpr size_t kMost = 16;  // IO_RINGFD_REG_MAX
    uint64_t list = user + TRY(types_.offset("io_uring_task", "registered_rings"));
    std::vector<uint64_t> places(kMost);
    for (size_t i = 0; i < kMost; ++i) places[i] = list + i * sizeof(uint64_t);
    for (uint64_t file : TRY(read_kernel(types_, places)))
      if (file) return true;
    return false;
  }

  KernelTypes types_;
  Iterator files_, areas_, tasks_;
  std::vector<Extra> extras_;
};

const Result<Insides>& insides() {
  static const Result<Insides> insides = Insides::look();
  return insides;
}

}  // namespace

void prepare_to_look_into_rings() { (void)insides(); }

Result<std::map<int, RingInsides>> look_into_rings(std::span<const int> fds) {
  if (!insides()) return std::unexpected(insides().error());
  return insides()->rings(fds);
}

Result<std::map<int, uint64_t>> eventfds_behind(std::span<const int> fds) {
  if (!insides()) return std::unexpected(insides().error());
  return insides()->behind(fds);
}

Result<std::map<uint64_t, uint64_t>> files_of_areas(pid_t pid) {
  if (!insides()) return std::unexpected(insides().error());
  return insides()->areas(pid);
}

Result<uint64_t> task_of(pid_t tid) {
  if (!insides()) return std::unexpected(insides().error());
  return insides()->task(tid);
}

Result<std::set<pid_t>> with_registered_rings(std::span<const pid_t> pids) {
  if (!insides()) return std::unexpected(insides().error());
  return insides()->registered(pids);
}

}  // namespace ks::engine
