// SPDX-License-Identifier: LGPL-2.1-or-later
// Parsers of /proc files: pure functions of text. Layouts are those of proc(5) and
// Documentation/filesystems/proc.rst.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ks::engine {

// /proc/PID/stat. The name may hold anything, also ") ".
struct StatLine {
  pid_t pid = 0;
  std::string comm;
  char state = '?';
  pid_t ppid = 0, pgrp = 0, session = 0;
  int tty_nr = 0;
  uint32_t flags = 0;       // PF_*; PF_KTHREAD is 0x00200000
  uint64_t start_time = 0;  // clock ticks since boot
  uint64_t start_code = 0, end_code = 0, start_stack = 0;
  uint64_t start_data = 0, end_data = 0, start_brk = 0;
  uint64_t arg_start = 0, arg_end = 0, env_start = 0, env_end = 0;
  int exit_signal = 0;
  int processor = -1;  // on which it ran last
  int exit_code = 0;   // as in wait(2)
};
Result<StatLine> parse_stat(std::string_view text);

// /proc/PID/status. A field that this kernel lacks stays empty.
struct Status {
  std::string name;
  mode_t umask = 0;
  char state = '?';
  pid_t tgid = 0, pid = 0, tracer_pid = 0;
  std::array<uid_t, 4> uids{};  // real, effective, saved, filesystem
  std::array<gid_t, 4> gids{};
  std::vector<gid_t> groups;
  // NSpid, NSpgid, NSsid: one number per nested PID namespace, 0 where it has none.
  std::vector<pid_t> ns_pids, ns_groups, ns_sessions;
  uint64_t pending = 0, shared_pending = 0, blocked = 0, ignored = 0, caught = 0;
  uint64_t cap_inheritable = 0, cap_permitted = 0, cap_effective = 0, cap_bounding = 0, cap_ambient = 0;
  bool no_new_privs = false;
  int seccomp = 0;
  bool tagged_addresses = false;  // untag_mask: linear address masking is on
  std::string thread_features;    // x86_Thread_features: "shstk wrss"
};
Result<Status> parse_status(std::string_view text);

// One area of /proc/PID/smaps.
struct Vma {
  uint64_t start = 0, end = 0;
  int protection = 0;  // PROT_*
  bool shared = false;
  uint64_t offset = 0;  // bytes
  uint32_t device_major = 0, device_minor = 0;
  uint64_t inode = 0;
  std::string path;                // "[heap]", "/usr/bin/x", "/dev/zero (deleted)"; octal escapes undone
  std::vector<std::string> flags;  // VmFlags: "rd", "wr", "gd"
  int protection_key = 0;
  uint64_t populated = 0;     // bytes in memory or swapped out; 0: no page to look for
  uint64_t shared_bytes = 0;  // of what is populated: maybe in other processes too
  uint64_t page_bytes = 0;    // of its page tables: larger than 4096 on hugetlbfs

  uint64_t size() const { return end - start; }
  // Of System V shared memory the inode's number is the segment's, and the first one of a machine is 0.
  bool has_file() const { return inode || device_major || device_minor; }
  bool has(std::string_view flag) const;
};
Result<std::vector<Vma>> parse_smaps(std::string_view text);
// What VmFlags show for a property that the kernel has no letters for.
inline constexpr std::string_view kNameless = "??";
// Gives the areas that mlock2(2) has locked with MLOCK_ONFAULT the flag "lf" on a kernel that has no letters for it.
void name_lock_on_fault(std::vector<Vma>& areas);
// The same of /proc/PID/maps, without flags, key and populated.
Result<std::vector<Vma>> parse_maps(std::string_view text);

// /proc/PID/fdinfo/N: the three lines that every file has, and the rest as they are.
struct FdInfo {
  uint64_t position = 0;
  int flags = 0;  // O_*, O_CLOEXEC included
  int mount = 0;
  std::vector<std::string> rest;  // "eventfd-count: 2", "lock:\t1: POSIX ..."

  // The value of the first line in `rest` that begins with `key` and a colon.
  std::optional<std::string_view> value(std::string_view key) const;
};
Result<FdInfo> parse_fdinfo(std::string_view text);

// "0::/system.slice/a.service": the path in the unified hierarchy.
Result<std::string> parse_cgroup(std::string_view text);

}  // namespace ks::engine
