// SPDX-License-Identifier: LGPL-2.1-or-later
#include "upgrade/job.h"

namespace ks::upgrade {

std::optional<std::string> booting_target(std::span<const Job> jobs) {
  for (const Job& job : jobs)
    if (job.type == "start" && (job.unit == "kexec.target" || job.unit == "reboot.target")) return job.unit;
  return std::nullopt;
}

}  // namespace ks::upgrade
