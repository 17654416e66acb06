// SPDX-License-Identifier: LGPL-2.1-or-later
// What the running kernel can do, probed once and passed on as a value.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace ks::engine {

struct Kernel {
  std::string release;         // uname -r
  bool pagemap_scan = false;   // PAGEMAP_SCAN, since 6.7 (Documentation/admin-guide/mm/pagemap.rst)
  bool pagemap_guard = false;  // its PAGE_IS_GUARD, since 6.15
  // Frame numbers of the shared zero pages of 4 KiB and 2 MiB; 0: unknown, and a zero page is then taken for
  // data. They hold as long as the process that probed lives.
  uint64_t zero_frame = 0, huge_zero_frame = 0;
  // VmFlags of smaps have "lf" for VM_LOCKONFAULT, since 6.9; before, "??" stands for it as for all that has no
  // letters.
  bool names_lock_on_fault = true;
  bool membarrier_query = false;    // MEMBARRIER_CMD_GET_REGISTRATIONS, since 6.3
  bool timer_ids = false;           // PR_TIMER_CREATE_RESTORE_IDS, since 6.15
  bool protection_keys = false;     // of memory, pkeys(7): the processor and the kernel have them
  bool time_namespace = false;      // time_namespaces(7)
  bool checkpoint_restore = false;  // CONFIG_CHECKPOINT_RESTORE: kcmp(2), PTRACE_PEEKSIGINFO, /proc/PID/map_files
};

Result<Kernel> probe_kernel();

}  // namespace ks::engine
