// SPDX-License-Identifier: LGPL-2.1-or-later
// The verbs of kernel-swap(8), with what the command line said. Each returns the exit status, or an error
// that becomes one line and status 1, or 3 for a refusal.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace ks::upgrade {

enum ExitStatus { kDone = 0, kFailed = 1, kUsage = 2, kRefused = 3 };

struct Now {
  std::string kernel, kernel_image, initrd, append;
  bool dry_run = false, skip_unready = false, json = false;
};
struct Check {
  std::vector<std::string> units;
  std::string kernel, kernel_image;
  bool json = false;
};
struct List {
  bool json = false;
};
struct Status {
  bool json = false;
};
struct Enable {
  std::vector<std::string> units;
};
struct Disable {
  std::vector<std::string> units;
};
struct Checkpoint {
  int pid = 0;
  std::string unit, directory;
  bool leave_running = false, json = false;
};
struct Restore {
  std::string directory, pidfile;
  bool json = false;
};
struct Inspect {
  std::string directory;
  bool json = false;
};

Result<int> run(const Now& now);
Result<int> run(const Check& check);
Result<int> run(const List& list);
Result<int> run(const Status& status);
Result<int> run(const Enable& enable);
Result<int> run(const Disable& disable);
Result<int> run(const Checkpoint& checkpoint);
Result<int> run(const Restore& restore);
Result<int> run(const Inspect& inspect);

}  // namespace ks::upgrade
