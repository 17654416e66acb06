// SPDX-License-Identifier: LGPL-2.1-or-later
// Kinds of file systems, by the magic numbers of statfs(2).
#pragma once

#include <linux/magic.h>

#include <cstdint>

namespace ks::engine {

// What lies there ends with the kernel.
inline bool is_in_memory(uint64_t file_system) {
  return file_system == TMPFS_MAGIC || file_system == RAMFS_MAGIC || file_system == HUGETLBFS_MAGIC;
}

// What lies there shows the kernel's own objects.
inline bool is_of_kernel(uint64_t file_system) {
  return file_system == PROC_SUPER_MAGIC || file_system == SYSFS_MAGIC || file_system == CGROUP_SUPER_MAGIC ||
         file_system == CGROUP2_SUPER_MAGIC;
}

}  // namespace ks::engine
