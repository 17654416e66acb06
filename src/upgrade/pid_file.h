// SPDX-License-Identifier: LGPL-2.1-or-later
// The file in which a service tells its main process (PIDFile=). systemd removes it when that ends, also when we have
// ended it; and most lie in /run, which a boot makes anew. The PID in it comes back, and so does the file: reload
// commands and logrotate(8) read it.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/result.h"

namespace ks::upgrade {

struct Ownership {
  uint32_t mode = 0;  // permissions
  uid_t user = 0;
  gid_t group = 0;
};

struct PidFile {
  std::string directory;  // without symbolic links; empty: there is no such file
  std::string name, text;
  Ownership owner, directory_owner;
};

// As it is now. No path, or nothing there, is nothing.
Result<PidFile> save_pid_file(const std::string& path);
// Leaves alone what is there already. Follows no symbolic link: its directory may be the service's own.
Result<> load_pid_file(const PidFile& file);

}  // namespace ks::upgrade
