// SPDX-License-Identifier: LGPL-2.1-or-later
// Areas of memory and the pages in them.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <array>
#include <map>
#include <set>

#include "base/file.h"
#include "engine/context/mapped_files.h"
#include "engine/context/pages.h"
#include "engine/kernel/io_uring.h"
#include "engine/memory.pb.h"
#include "engine/task/aio_rings.h"
#include "engine/task/mapping.h"
#include "engine/task/obstacles_in_memory.h"
#include "engine/task/room.h"

namespace ks::engine {

namespace {

constexpr int kGuardInstall = 102;  // MADV_GUARD_INSTALL, since 6.13
constexpr long kMseal = 462;        // mseal(2), since 6.10

struct Advice {
  std::string_view flag;
  int advice;
};
// VmFlags that madvise(2) sets (Documentation/filesystems/proc.rst).
constexpr std::array kAdvice = {
    Advice{"sr", MADV_SEQUENTIAL}, Advice{"rr", MADV_RANDOM},     Advice{"dc", MADV_DONTFORK},
    Advice{"dd", MADV_DONTDUMP},   Advice{"wf", MADV_WIPEONFORK}, Advice{"hg", MADV_HUGEPAGE},
    Advice{"nh", MADV_NOHUGEPAGE}, Advice{"mg", MADV_MERGEABLE},
};

// Flags that follow from what is restored anyway.
constexpr std::array<std::string_view, 17> kImplied = {"rd", "wr", "ex", "sh", "mr", "mw", "me", "ms", "gd",
                                                       "ac", "nr", "sd", "lo", "lf", "gu", "sl", "dp"};

struct Obstacle {
  std::string_view flag, why;
};
constexpr std::array kObstacles = {
    Obstacle{"io", "memory of a device"},
    Obstacle{"pf", "memory of a device"},
    Obstacle{"mm", "memory of a device"},
    Obstacle{"um", "watched by userfaultfd"},
    Obstacle{"uw", "watched by userfaultfd"},
    Obstacle{"ui", "watched by userfaultfd"},
    Obstacle{"ss", "a shadow stack, which is not supported yet"},
};

bool is_kernel_area(const Vma& area) {
  return area.path == "[vsyscall]" || area.path == "[vdso]" || area.path.starts_with("[vvar");
}

std::string label(const Vma& area) {
  return fmt::format("area {:x}-{:x}{}{}", area.start, area.end, area.path.empty() ? "" : " ", area.path);
}

// The kernel itself makes it memory of a device, or has done so.
std::string ring_obstacle(const Vma& area) {
  constexpr std::array<std::string_view, 14> kHarmless = {"rd", "wr", "mr", "mw", "me", "ms", "sh",
                                                          "sd", "io", "pf", "mm", "de", "dd", "dc"};
  for (const auto& flag : area.flags)
    if (std::ranges::find(kHarmless, flag) == kHarmless.end()) return "a ring with the property \"" + flag + "\"";
  return area.shared ? "" : "a ring that is mapped privately";
}

// Why it cannot be carried, judged by flags and name alone.
std::string obstacle(const Vma& area) {
  if (area.path == kRingLink) return ring_obstacle(area);
  if (area.path.starts_with("anon_inode:")) return "memory of " + area.path + ", which is not supported yet";
  for (const auto& flag : area.flags) {
    for (const auto& [known, why] : kObstacles)
      if (flag == known) return std::string(why);
    if (area.has("ht") && (flag == "ht" || flag == "de")) continue;  // neither grows
    if (is_aio_ring(area) && flag == "de") continue;
    bool harmless = std::ranges::find(kImplied, flag) != kImplied.end() ||
                    std::ranges::find(kAdvice, std::string_view(flag), &Advice::flag) != kAdvice.end();
    if (!harmless) return "has the unknown property \"" + flag + "\"";
  }
  bool known = area.path.empty() || area.path.starts_with('/') || area.path == "[heap]" || area.path == "[stack]" ||
               area.path.starts_with("[anon:") || area.path.starts_with("[anon_shmem:");
  if (!known) return "of an unknown kind";
  return "";
}

std::string area_name(const Vma& area) {
  for (std::string_view prefix : {"[anon:", "[anon_shmem:"})
    if (area.path.starts_with(prefix)) return area.path.substr(prefix.size(), area.path.size() - prefix.size() - 1);
  return "";
}

// Anonymous, although it has a file for the kernel's bookkeeping.
bool is_private_huge(const Vma& area) {
  return !area.shared && area.has("ht") && area.path.starts_with("/anon_hugepage");
}

// System V shared memory.
Result<> describe_attachment(Dumping& dumping, const StoppedProcess& process, const Vma& area, image::Area& out) {
  std::string link = process.map_file(area);
  struct stat file{};
  if (::stat(link.c_str(), &file)) return fail_errno(link);
  uint32_t name_space = dumping.system_v.name_space.at(process.pid);
  auto found = dumping.system_v.segments.find({name_space, static_cast<int>(area.inode)});
  if (found == dumping.system_v.segments.end()) return refuse("is of another IPC namespace than its process");
  const auto& [object, attached] = found->second;
  // Its inode has its number and not one of its own.
  if (object.memory.shm_nattch != attached) {
    auto other = TRY(dumping.outside.sharer(file.st_dev, file.st_ino));
    return refuse(other ? fmt::format("shared with pid {}, which is not part of it", *other)
                        : "shared with a process that is not part of it");
  }
  SegmentUse segment{.object = &object, .name_space = name_space};
  out.set_id(TRY(dumping.mapped_file(link, true, area.has("mw"), &segment)));
  out.set_source(image::Area::SYSTEM_V);
  out.set_segment(object.id);
  out.set_segment_bytes(static_cast<uint64_t>(file.st_size));
  out.set_read_only(!area.has("mw"));
  return {};
}

// Of io_uring.
Result<> describe_ring_area(const Dumping& dumping, const StoppedProcess& process, const Vma& area,
                            image::Area& out) {
  auto file = dumping.ring_areas.find({process.pid, area.start});
  if (file == dumping.ring_areas.end()) return refuse("memory of a ring that no process of it has open");
  out.set_source(image::Area::IO_URING);
  out.set_id(file->second);
  return {};
}

Result<> describe(Dumping& dumping, StoppedProcess& process, const Vma& area, image::Area& out) {
  out.set_start(area.start);
  out.set_end(area.end);
  out.set_protection(static_cast<uint32_t>(area.protection));
  out.set_shared(area.shared);
  out.set_grows_down(area.has("gd"));
  out.set_no_reserve(area.has("nr"));
  out.set_lock(area.has("lf") ? 2 : area.has("lo") ? 1 : 0);
  out.set_name(area_name(area));
  out.set_droppable(area.has("dp"));
  out.set_sealed(area.has("sl"));
  out.set_protection_key(static_cast<uint32_t>(area.protection_key));
  for (const auto& [flag, advice] : kAdvice)
    if (area.has(flag)) out.add_advice(advice);
  if (!area.has_file()) return {};
  if (is_private_huge(area)) {
    out.set_huge_page(area.page_bytes);
    return {};
  }
  out.set_offset(area.offset);
  if (is_aio_ring(area)) return describe_ring(dumping, process, area, out);
  if (area.path == kRingLink) return describe_ring_area(dumping, process, area, out);
  out.set_source(image::Area::FILE);
  if (area.path.starts_with("/SYSV") && area.shared) return describe_attachment(dumping, process, area, out);
  out.set_id(TRY(dumping.mapped_file(process, area)));
  return {};
}

// Which key is that which the kernel keeps for areas that may only be executed: one that nobody may use otherwise.
void describe_keys(Dumping& dumping, const DumpedProcess& process, image::Memory& memory) {
  const auto& known = process.answers.protection_keys;
  uint32_t of_kernel = 0;
  for (auto& area : *memory.mutable_areas()) {
    uint32_t key = area.protection_key();
    if (!key || (known && known->contains(key))) continue;
    std::string_view why;
    if (!known)
      why = "has a protection key, and a seccomp filter ends the process if it is asked which ones it has allocated";
    else if (area.protection() == PROT_EXEC && of_kernel && key != of_kernel)
      why = "has a protection key that has been freed";
    if (!why.empty())
      dumping.refuse(process.stopped.pid, fmt::format("area {:x}-{:x}", area.start(), area.end()), std::string(why));
    if (area.protection() != PROT_EXEC) continue;
    of_kernel = key;
    area.set_execute_only(true);
  }
  if (known)
    for (uint32_t key : *known) memory.add_protection_keys(key);
}

template <class List>
void put_runs(const std::vector<PageRun>& runs, List& into) {
  for (const PageRun& run : runs) {
    auto* out = into.Add();
    out->set_start(run.start);
    out->set_end(run.end);
  }
}

Result<> dump(Dumping& dumping, DumpedProcess& process, const TaskRoom& room) {
  StoppedProcess& stopped = process.stopped;
  TRY(check_memory_policies(dumping, process));
  if (dumping.shares_memory(stopped.pid)) return {};
  if (!dumping.kernel.names_lock_on_fault) name_lock_on_fault(stopped.areas);
  image::Memory memory;
  DumpedPages& pages = dumping.pages[stopped.pid];
  std::vector<PageRun>& runs = pages.runs;
  Fd pagemap = TRY(open_file(stopped.proc("pagemap"), O_RDONLY));
  for (const Vma& area : stopped.areas) {
    if (is_kernel_area(area)) {
      if (area.protection_key) dumping.refuse(stopped.pid, label(area), "has a protection key");
      continue;
    }
    if (auto why = obstacle(area); !why.empty()) {
      dumping.refuse(stopped.pid, label(area), why);
      continue;
    }
    auto described = describe(dumping, stopped, area, *memory.add_areas());
    if (!described && described.error().refusal) {
      dumping.refuse(stopped.pid, label(area), described.error().what);
      continue;
    }
    TRY(in(label(area), std::move(described)));
    // A kernel that tells which pages are guards does not always tell which areas have any ("gu").
    put_runs(TRY(in(label(area), find_guards(dumping.kernel, pagemap.get(), area.start, area.end))),
             *memory.mutable_guards());
    if (area.shared || area.populated == 0 || area.has("dp")) continue;
    if (area.shared_bytes) pages.maybe_shared.push_back(memory.areas().rbegin()[0]);
    bool anonymous = !area.has_file() || is_private_huge(area);
    for (const PageRun& run :
         TRY(in(label(area), find_pages(dumping.kernel, pagemap.get(), area.start, area.end, anonymous)))) {
      if (!runs.empty() && runs.back().end == run.start)
        runs.back().end = run.end;
      else
        runs.push_back(run);
    }
  }
  put_runs(runs, *memory.mutable_runs());
  describe_keys(dumping, process, memory);
  process.put(room.name, room.version, memory);
  return {};
}

// What is left of the blocks that it has inherited is its own.
Result<> trim_blocks(Restoring& restoring, RestoredProcess& process, const image::Inheritance::Member& heir,
                     const image::Memory& memory, std::map<uint64_t, uint32_t>& there) {
  std::set<uint64_t> kept(heir.kept().begin(), heir.kept().end());
  for (uint32_t number : heir.blocks()) {
    const auto& block = restoring.inheritance.blocks(static_cast<int>(number));
    uint64_t from = block.start();
    for (const auto& area : memory.areas()) {
      if (area.start() < block.start() || area.end() > block.end() || !kept.contains(area.start())) continue;
      if (area.start() > from) TRY(in("munmap", process.leader()(SYS_munmap, from, area.start() - from)));
      from = area.end();
      there.emplace(area.start(), first_protection(block));
    }
    if (from < block.end()) TRY(in("munmap", process.leader()(SYS_munmap, from, block.end() - from)));
  }
  for (const auto& run : heir.dropped())
    TRY(in("MADV_DONTNEED", process.leader()(SYS_madvise, run.start(), run.end() - run.start(), MADV_DONTNEED)));
  return {};
}

std::vector<PageRun> to_runs(const google::protobuf::RepeatedPtrField<image::PageRun>& list) {
  std::vector<PageRun> runs;
  for (const auto& run : list) runs.push_back({run.start(), run.end()});
  return runs;
}

Result<> lock(RemoteCalls& calls, const image::Area& area) {
  auto lock_with = [&](int flags) {
    return in("mlock", calls(SYS_mlock2, area.start(), area.end() - area.start(), flags));
  };
  auto locked = lock_with(area.lock() == 2 ? MLOCK_ONFAULT : 0);
  if (locked) return {};
  if (area.lock() == 2 || locked.error().code != ENOMEM) return std::unexpected(std::move(locked).error());
  // Some of it cannot be populated, having no access, as the guards of threads' stacks, or no file behind it. That is
  // found when it is locked already. That no limit is in the way is told by the kind of lock that populates nothing.
  TRY(lock_with(MLOCK_ONFAULT));
  (void)lock_with(0);
  return {};
}

// In a new process the kernel gives them out from the lowest.
Result<uint32_t> allocate_keys(RemoteCalls& calls, const image::Memory& memory) {
  uint32_t most = 0;
  for (uint32_t key : memory.protection_keys()) most = std::max(most, key);
  for (const auto& area : memory.areas()) most = std::max(most, area.protection_key());
  for (uint32_t key = 1; key <= most; ++key)
    if (TRY(in("pkey_alloc", calls(SYS_pkey_alloc, 0, 0))) != key) return fail("pkey_alloc gives another key");
  return most;
}

Result<> free_key(RemoteCalls& calls, uint32_t key) {
  TRY(in("pkey_free", calls(SYS_pkey_free, key)));
  return {};
}

// All protection keys are taken while areas are given theirs, so that the one which the kernel takes by itself is the
// right one, being the only one that is free.
Result<> dress_areas(const Restoring& restoring, RestoredProcess& process, const image::Memory& memory,
                     const std::map<uint64_t, uint32_t>& there) {
  std::set<uint32_t> surplus;
  uint32_t most = TRY(allocate_keys(process.leader(), memory));
  for (uint32_t key = 1; key <= most; ++key)
    if (std::ranges::find(memory.protection_keys(), key) == memory.protection_keys().end()) surplus.insert(key);
  auto dress_those = [&](bool execute_only) -> Result<> {
    for (const auto& area : memory.areas()) {
      if (area.execute_only() != execute_only || area.source() == image::Area::IO_URING) continue;
      if (execute_only && surplus.erase(area.protection_key()))
        TRY(free_key(process.leader(), area.protection_key()));
      auto inherited = there.find(area.start());
      TRY(in(fmt::format("area {:x}-{:x}", area.start(), area.end()),
             dress_area(restoring, process, area,
                        inherited == there.end() ? first_protection(area) : inherited->second)));
    }
    return {};
  };
  TRY(dress_those(true));
  TRY(dress_those(false));
  for (uint32_t key : surplus) TRY(free_key(process.leader(), key));
  return {};
}

Result<> restore(Restoring& restoring, RestoredProcess& process, const TaskRoom& room) {
  if (process.shares_memory()) return {};
  auto memory = TRY(process.read<image::Memory>(room.name, room.version));
  const auto* heir = restoring.heir(process.pid);
  std::map<uint64_t, uint32_t> there;  // areas that are not mapped by map_area(), with their protection
  if (heir) TRY(trim_blocks(restoring, process, *heir, memory, there));
  for (const auto& area : memory.areas()) {
    if (there.contains(area.start())) continue;
    if (area.source() == image::Area::IO_URING) continue;
    bool is_ring = area.source() == image::Area::AIO_RING;
    TRY(in(fmt::format("area {:x}-{:x}", area.start(), area.end()),
           is_ring ? restore_ring(process, area) : map_area(restoring, process.leader(), area)));
    if (is_ring) there.emplace(area.start(), PROT_READ | PROT_WRITE);
  }
  std::vector<PageRun> runs = to_runs(heir ? heir->own() : memory.runs());
  restoring.memory_bytes += TRY(read_pages(restoring.image, pages_file(process.pid), runs, *process.memory));
  for (const auto& guard : memory.guards())
    TRY(in("MADV_GUARD_INSTALL",
           process.leader()(SYS_madvise, guard.start(), guard.end() - guard.start(), kGuardInstall)));
  TRY(dress_areas(restoring, process, memory, there));
  for (const auto& area : memory.areas())
    if (area.lock()) TRY(lock(process.leader(), area));
  // What is sealed can be changed no more.
  for (const auto& area : memory.areas())
    if (area.sealed()) TRY(in("mseal", process.leader()(kMseal, area.start(), area.end() - area.start(), 0)));
  return {};
}

}  // namespace

extern const TaskRoom kMemory;
const TaskRoom kMemory{.name = "memory", .version = kMemoryVersion, .dump = dump, .restore = restore};

}  // namespace ks::engine
