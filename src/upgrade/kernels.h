// SPDX-License-Identifier: LGPL-2.1-or-later
// Installed kernels, and the command line for the next one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ks::upgrade {

struct KernelImage {
  std::string version;  // as `uname -r` will say; empty for an image given by its file
  std::string image;
  std::string initrd;  // empty: none
};

// Orders versions as Debian does: runs of digits by value, "~" before the end.
int compare_versions(std::string_view left, std::string_view right);

std::vector<std::string> kernel_versions(const std::vector<std::string>& names_in_boot);  // oldest first

// Empty `version`: the newest one. `boot` is /boot but in tests.
Result<KernelImage> installed_kernel(std::string_view version, const std::string& boot = "/boot");

// The running kernel's command line without what its boot loader put there, with `append` at its end.
std::string next_command_line(std::string_view running, std::string_view append);

}  // namespace ks::upgrade
