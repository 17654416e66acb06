// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/task/mapping.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/syscall.h>

#include <bit>

namespace ks::engine {

namespace {

constexpr int kMapDroppable = 0x08;  // MAP_DROPPABLE, since 6.11

// Huge pages are given at the first touch.
bool is_early(int advice) { return advice == MADV_HUGEPAGE || advice == MADV_NOHUGEPAGE; }

// As a whole where all of it is there; else elsewhere, and what is left of it is moved.
Result<> attach_segment(RemoteCalls& calls, const image::Area& area) {
  uint64_t whole = (area.segment_bytes() + kPageSize - 1) / kPageSize * kPageSize;
  uint64_t length = area.end() - area.start(), past = area.offset() + length;
  if (past > whole) return fail("lies beyond the end of its segment");
  int flags = area.read_only() ? SHM_RDONLY : 0;
  uint64_t at = TRY(in("shmat", calls(SYS_shmat, area.segment(), length == whole ? area.start() : 0, flags)));
  if (length != whole) {
    TRY(in("mremap",
           calls(SYS_mremap, at + area.offset(), length, length, MREMAP_MAYMOVE | MREMAP_FIXED, area.start())));
    if (area.offset()) TRY(in("munmap", calls(SYS_munmap, at, area.offset())));
    if (past < whole) TRY(in("munmap", calls(SYS_munmap, at + past, whole - past)));
  }
  uint32_t protection = area.read_only() ? PROT_READ : PROT_READ | PROT_WRITE;
  if (first_protection(area) != protection)
    TRY(in("mprotect", calls(SYS_mprotect, area.start(), length, first_protection(area))));
  return {};
}

Result<> protect(const Restoring& restoring, RemoteCalls& calls, const image::Area& area, uint32_t now) {
  uint64_t length = area.end() - area.start();
  // The kernel would take its own key for it.
  bool without_key = area.protection() == PROT_EXEC && restoring.kernel.protection_keys;
  if (!area.execute_only() && (area.protection_key() || without_key))
    TRY(in("pkey_mprotect",
           calls(SYS_pkey_mprotect, area.start(), length, area.protection(), area.protection_key())));
  else if (area.execute_only() || area.protection() != now)
    TRY(in("mprotect", calls(SYS_mprotect, area.start(), length, area.protection())));
  return {};
}

}  // namespace

uint32_t first_protection(const image::Area& area) {
  return area.protection() == PROT_EXEC ? PROT_READ | PROT_EXEC : area.protection();
}

Result<> map_area(const Restoring& restoring, RemoteCalls& calls, const image::Area& area) {
  if (area.source() == image::Area::SYSTEM_V) return attach_segment(calls, area);
  int flags = MAP_FIXED_NOREPLACE | (area.shared() ? MAP_SHARED : area.droppable() ? kMapDroppable : MAP_PRIVATE);
  int fd = -1;
  switch (area.source()) {
    case image::Area::FILE:
      fd = TRY(restoring.mapped_file(area.id()));
      break;
    default:
      flags |= MAP_ANONYMOUS;
  }
  if (area.grows_down()) flags |= MAP_GROWSDOWN;  // not MAP_STACK, which since 6.7 forbids huge pages
  if (area.no_reserve()) flags |= MAP_NORESERVE;
  if (area.huge_page()) flags |= MAP_HUGETLB | std::countr_zero(area.huge_page()) << MAP_HUGE_SHIFT;
  uint64_t length = area.end() - area.start();
  uint64_t at = TRY(calls(SYS_mmap, area.start(), length, first_protection(area), flags, fd, area.offset()));
  if (at != area.start()) return fail(fmt::format("mapped at {:x}", at));
  for (int advice : area.advice())
    if (is_early(advice)) TRY(in("madvise", calls(SYS_madvise, area.start(), length, advice)));
  return {};
}

Result<> dress_area(const Restoring& restoring, RestoredProcess& process, const image::Area& area, uint32_t now) {
  uint64_t length = area.end() - area.start();
  TRY(protect(restoring, process.leader(), area, now));
  for (int advice : area.advice())
    if (!is_early(advice) && !area.droppable())  // which has all of its kind
      TRY(in("madvise", process.leader()(SYS_madvise, area.start(), length, advice)));
  if (area.name().empty()) return {};
  TRY(process.memory->write(process.scratch, std::as_bytes(std::span(area.name().c_str(), area.name().size() + 1))));
  TRY(in("naming it",
         process.leader()(SYS_prctl, PR_SET_VMA, PR_SET_VMA_ANON_NAME, area.start(), length, process.scratch)));
  return {};
}

}  // namespace ks::engine
