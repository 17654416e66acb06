// SPDX-License-Identifier: LGPL-2.1-or-later
// What the generator does (systemd.generator(7)): it runs before any unit, and again at each daemon-reload,
// on a root file system that may be read-only. None of it may fail the boot, so each part goes as far as it
// can and says what went wrong.
#pragma once

#include <string>
#include <vector>

namespace ks::upgrade {

struct Places {
  std::string out;  // the generator's output directory of normal priority
  std::string store;
  std::string run;       // /run/kernel-swap
  std::string proc_sys;  // /proc/sys
  std::string libexec;
  std::string boot_id;
  std::string kernel_command_line;
  std::vector<std::string> unit_directories;
};

// Returns the complaints, a line each.
std::vector<std::string> generate(const Places& places);

}  // namespace ks::upgrade
