// SPDX-License-Identifier: LGPL-2.1-or-later
// The mounts that make a sandbox. systemd makes them again; a restore checks that it did.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace ks::engine {

struct Mount {
  std::string where, type;
  auto operator<=>(const Mount&) const = default;
};

struct MountPoint : Mount {
  std::string root;  // what of its file system is mounted there
  uint64_t id = 0;   // "mnt_id" of fdinfo
  dev_t device = 0;  // of the file system: inode->i_sb->s_dev, which stat(2) does not always show
};

// /proc/PID/mountinfo (Documentation/filesystems/proc.rst, section 3.5). Octal escapes are undone.
Result<std::vector<MountPoint>> parse_mountinfo(std::string_view text);

// The mount namespace of a process, from its own root: there the paths start that /proc tells us of a process,
// whatever root directory the process itself has (chroot(2)).
struct MountView {
  Fd root;
  std::vector<MountPoint> points;  // all below the root, and the root itself, mount point or not
  std::vector<Mount> mounts;       // those that we do not have

  const MountPoint* point(uint64_t id) const;  // null: it lies elsewhere
};
Result<MountView> view_mounts(pid_t pid);

// Names the first of `mounts` that the process does not see.
Result<> check_mounts(pid_t pid, const std::vector<Mount>& mounts);

}  // namespace ks::engine
