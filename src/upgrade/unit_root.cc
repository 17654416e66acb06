// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/unit_root.h"

#include <fmt/core.h>
#include <sched.h>

#include <thread>

#include "base/file.h"

namespace ks::upgrade {

Result<Fd> unit_root(pid_t pid) {
  constexpr int kHow = O_PATH | O_DIRECTORY;
  std::string space = fmt::format("/proc/{}/ns/mnt", pid);
  auto its = pid ? read_link(space) : fail(space);
  auto file = its ? open_file(space, O_RDONLY) : std::unexpected(its.error());
  // Not to be taken for a directory that is not there.
  if (!file) return fail(fmt::format("pid {}: has ended", pid), ESRCH);
  if (*its == TRY(read_link("/proc/self/ns/mnt"))) return open_file("/", kHow);
  Result<Fd> root;
  // Who enters it finds himself at its root directory (setns(2)); it must be a thread that shares its own with
  // nobody.
  std::thread([&] {
    bool is_inside = ::unshare(CLONE_FS) == 0 && ::setns(file->get(), CLONE_NEWNS) == 0;
    root = is_inside ? open_file("/", kHow) : fail_errno(space);
  }).join();
  return root;
}

}  // namespace ks::upgrade
