// SPDX-License-Identifier: LGPL-2.1-or-later
// What a boot takes away from disks: systemd-tmpfiles-setup.service obeys tmpfiles.d(5). Debian 12 empties /tmp.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace ks::upgrade {

inline const std::vector<std::string> kTmpfilesDirectories = {"/etc/tmpfiles.d", "/run/tmpfiles.d",
                                                              "/usr/local/lib/tmpfiles.d", "/usr/lib/tmpfiles.d"};

// Directories that are emptied then (type D). The earlier directory wins where two have a file of one name, and the
// earlier file name where two have a line for one path.
std::vector<std::string> emptied_at_boot(std::span<const std::string> directories = kTmpfilesDirectories);

}  // namespace ks::upgrade
