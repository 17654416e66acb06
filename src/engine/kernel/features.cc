// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/kernel/features.h"

#include <linux/kcmp.h>
#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/kernel/pagemap.h"
#include "engine/kernel/proc.h"

namespace ks::engine {

namespace {

constexpr int kTimerCreateRestoreIds = 77;           // its argument 2 asks
constexpr int kMembarrierGetRegistrations = 1 << 9;  // not in every linux/membarrier.h

bool probe_checkpoint_restore() {
  // kcmp(2) alone would not tell: DRM brings it too. The size of prctl_mm_map is told only by a kernel that
  // has CONFIG_CHECKPOINT_RESTORE.
  unsigned int size = 0;
  pid_t self = ::getpid();
  return ::prctl(PR_SET_MM, PR_SET_MM_MAP_SIZE, &size, 0, 0) == 0 &&
         ::syscall(SYS_kcmp, self, self, KCMP_VM, 0, 0) == 0;
}

// Nothing of it stays: a new key denies what keys that nobody has deny.
bool probe_protection_keys() {
  int key = ::pkey_alloc(0, PKEY_DISABLE_ACCESS);
  if (key < 0) return false;
  ::pkey_free(key);
  return true;
}

// A page of our own shows how this kernel calls it. One that we may not lock tells nothing: then what has no letters
// is not known.
Result<bool> probe_names_lock_on_fault() {
  void* page = ::mmap(nullptr, kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return fail_errno("mmap");
  bool locked = ::mlock2(page, kPageSize, MLOCK_ONFAULT) == 0;
  auto text = read_file("/proc/self/smaps");
  ::munmap(page, kPageSize);
  if (!locked) return true;
  for (const Vma& area : TRY(parse_smaps(TRY(std::move(text)))))
    if (area.start == reinterpret_cast<uint64_t>(page)) return !area.has(kNameless);
  return true;
}

}  // namespace

Result<Kernel> probe_kernel() {
  utsname names;
  if (::uname(&names)) return fail_errno("uname");
  Kernel kernel;
  kernel.release = names.release;
  kernel.membarrier_query = ::syscall(SYS_membarrier, kMembarrierGetRegistrations, 0, 0) >= 0;
  kernel.timer_ids = ::prctl(kTimerCreateRestoreIds, 2, 0, 0, 0) >= 0;
  kernel.protection_keys = probe_protection_keys();
  kernel.time_namespace = ::access("/proc/self/ns/time_for_children", F_OK) == 0;
  kernel.checkpoint_restore = probe_checkpoint_restore();
  kernel.names_lock_on_fault = TRY(in("/proc/self/smaps", probe_names_lock_on_fault()));
  TRY(in("/proc/self/pagemap", probe_pagemap(kernel)));
  return kernel;
}

}  // namespace ks::engine
