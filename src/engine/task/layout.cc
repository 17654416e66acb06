// SPDX-License-Identifier: LGPL-2.1-or-later
// The executable, the program break, and where arguments, environment and auxiliary vector lie (PR_SET_MM_MAP).
#include <linux/prctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>

#include "base/file.h"
#include "engine/kernel/pagemap.h"
#include "engine/layout.pb.h"
#include "engine/memory.pb.h"
#include "engine/task/mapping.h"
#include "engine/task/room.h"

namespace ks::engine {

namespace {

constexpr int kSetMemoryMerge = 67;  // PR_SET_MEMORY_MERGE, since 6.4

// Low, where the kernel puts nothing by itself, so that what is mapped there for a moment is in nobody's way.
uint64_t find_hole(const StoppedProcess& process) {
  constexpr uint64_t kLowest = 1 << 17;  // well above vm.mmap_min_addr
  uint64_t hole = kLowest;
  for (const Vma& area : process.areas)
    if (hole + 2 * kPageSize > area.start && hole < area.end + kPageSize) hole = area.end + kPageSize;
  return hole;
}

// Whether all memory that the process will get is to be locked (mlockall(2), MCL_FUTURE), which no kernel tells: what
// becomes of a page that it maps for a moment does. 0: no, 1: yes, 2: when it is touched.
Result<uint32_t> future_lock(DumpedProcess& process) {
  StoppedProcess& stopped = process.stopped;
  uint64_t hole = find_hole(stopped);
  const RemoteCall calls[] = {
      {SYS_mmap,
       {hole, kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, as_argument(-1)}},
      {SYS_madvise, {hole, kPageSize, MADV_DONTNEED}},  // not of locked memory
      {SYS_mincore, {hole, kPageSize, process.foothold.scratch().value}}};
  const RemoteCall undo{SYS_munmap, {hole, kPageSize}};
  StoppedThread& thread = process.foothold.quickest();
  auto may_be_made = [&](const RemoteCall& call) { return process.foothold.permits(thread, call); };
  int64_t mapped = -EPERM;
  std::vector<int64_t> results;
  if (may_be_made(undo) && std::ranges::all_of(calls, may_be_made)) {
    results = TRY(process.foothold.make_and_undo(thread, calls, undo));
    mapped = results[0];
  }
  if (mapped != static_cast<int64_t>(hole)) {
    bool any = std::ranges::any_of(stopped.areas, [](const Vma& area) { return area.has("lo"); });
    if (!any && mapped != -EAGAIN) return 0;
    return refuse(fmt::format("has locked memory, maybe in the future too (mlockall), which cannot be told: {}",
                              strerrordesc_np(static_cast<int>(-mapped))));
  }
  if (results[1] == 0) return 0;
  if (results[1] != -EINVAL || results[2] != 0)
    return fail("a page that was mapped to see whether it is locked is gone");
  return TRY(stopped.memory->read<uint8_t>(process.foothold.scratch())) & 1 ? 1 : 2;
}

Result<> dump(Dumping& dumping, DumpedProcess& process, const TaskRoom& room) {
  StoppedProcess& stopped = process.stopped;
  if (dumping.shares_memory(stopped.pid)) return {};
  const StatLine& stat = stopped.stat;
  image::Layout out;
  out.set_start_code(stat.start_code);
  out.set_end_code(stat.end_code);
  out.set_start_data(stat.start_data);
  out.set_end_data(stat.end_data);
  out.set_start_brk(stat.start_brk);
  out.set_start_stack(stat.start_stack);
  out.set_arg_start(stat.arg_start);
  out.set_arg_end(stat.arg_end);
  out.set_env_start(stat.env_start);
  out.set_env_end(stat.env_end);
  out.set_auxv(TRY(read_record(stopped.proc("auxv"))));
  std::string link = stopped.proc("exe");
  auto executable = dumping.mapped_file(link, false, false);
  if (!executable && executable.error().refusal) {
    dumping.refuse(stopped.pid, "executable", executable.error().what);
    return {};
  }
  out.set_executable(TRY(std::move(executable)));
  out.set_brk(process.answers.program_break);
  out.set_future_lock(TRY(future_lock(process)));
  out.set_merges(process.answers.merges);
  if (dumping.inside.contains(stopped.pid) && (out.merges() || out.future_lock()))
    dumping.refuse(
        stopped.pid, "process",
        fmt::format("{} all of its memory, in a PID namespace that belongs to a user namespace; that is not "
                    "supported yet",
                    out.merges() ? "merges" : "locks"));
  process.put(room.name, room.version, out);
  return {};
}

// It makes all areas mergeable that can be.
Result<> set_merges(RestoredProcess& process) {
  TRY(in("PR_SET_MEMORY_MERGE", process.leader()(SYS_prctl, kSetMemoryMerge, 1, 0, 0, 0)));
  auto memory = TRY(process.read<image::Memory>("memory", kMemoryVersion));
  for (const auto& area : memory.areas())
    if (!area.shared() && std::ranges::find(area.advice(), MADV_MERGEABLE) == area.advice().end())
      TRY(in("MADV_UNMERGEABLE",
             process.leader()(SYS_madvise, area.start(), area.end() - area.start(), MADV_UNMERGEABLE)));
  return {};
}

Result<> restore(Restoring& restoring, RestoredProcess& process, const TaskRoom& room) {
  if (process.shares_memory()) return {};
  auto layout = TRY(process.read<image::Layout>(room.name, room.version));
  RemoteAddress auxv = process.scratch + sizeof(prctl_mm_map);
  prctl_mm_map map{.start_code = layout.start_code(),
                   .end_code = layout.end_code(),
                   .start_data = layout.start_data(),
                   .end_data = layout.end_data(),
                   .start_brk = layout.start_brk(),
                   .brk = layout.brk(),
                   .start_stack = layout.start_stack(),
                   .arg_start = layout.arg_start(),
                   .arg_end = layout.arg_end(),
                   .env_start = layout.env_start(),
                   .env_end = layout.env_end(),
                   .auxv = reinterpret_cast<__u64*>(auxv.value),
                   .auxv_size = static_cast<__u32>(layout.auxv().size()),
                   .exe_fd = static_cast<__u32>(TRY(restoring.mapped_file(layout.executable())))};
  TRY(process.memory->write_value(process.scratch, map));
  TRY(process.memory->write(auxv, std::as_bytes(std::span(layout.auxv()))));
  TRY(in("PR_SET_MM_MAP", process.leader()(SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, process.scratch, sizeof map, 0)));
  // All is mapped by now.
  if (layout.merges()) TRY(set_merges(process));
  if (layout.future_lock())
    TRY(in("mlockall", process.leader()(SYS_mlockall, MCL_FUTURE | (layout.future_lock() == 2 ? MCL_ONFAULT : 0))));
  return {};
}

}  // namespace

extern const TaskRoom kLayout;
const TaskRoom kLayout{.name = "layout", .version = 1, .dump = dump, .restore = restore};

}  // namespace ks::engine
