// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/open_resolved.h"

#include <sys/syscall.h>
#include <unistd.h>

namespace ks {

Result<Fd> open_resolved(int directory, const std::string& path, int flags, uint64_t resolve) {
  open_how how{.flags = static_cast<uint64_t>(flags) | O_CLOEXEC, .mode = 0, .resolve = resolve};
  long fd = ::syscall(SYS_openat2, directory, path.c_str(), &how, sizeof how);
  if (fd < 0) return fail_errno(path);
  return Fd(static_cast<int>(fd));
}

}  // namespace ks
