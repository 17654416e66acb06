// SPDX-License-Identifier: LGPL-2.1-or-later
// Which kernel the machine is to go on with, as far as it is known. `kernel-swap now` says so to the dump, which is
// another program's, at shutdown; of a kernel that somebody else has loaded nothing tells what it is.
#pragma once

#include <string>

#include "base/result.h"
#include "engine/engine.h"

namespace ks::upgrade {

inline constexpr char kAnnouncement[] = "/run/kernel-swap/next-kernel";

struct KernelFile {
  std::string path;
  std::string mark;  // changes with the file
  engine::NextKernel kernel;
};
Result<KernelFile> open_kernel(const std::string& path);

// It has been loaded, and is what boots next. An error where the file is no longer the one that was opened.
Result<> announce(const KernelFile& file, const std::string& announcement = kAnnouncement);
void withdraw_announcement(const std::string& announcement = kAnnouncement);

// What boots when the job for `target` is done.
engine::NextKernel announced_kernel(const std::string& target, const std::string& announcement = kAnnouncement);

}  // namespace ks::upgrade
