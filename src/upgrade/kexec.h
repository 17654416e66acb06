// SPDX-License-Identifier: LGPL-2.1-or-later
// Loading the next kernel, by kexec-tools.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "upgrade/kernels.h"

namespace ks::upgrade {

// Root, kexec-tools, a kernel that lets itself be replaced. Touches nothing.
Result<> require_kexec();

// By kexec_file_load(2), or where that is refused by kexec_load(2); then `note` says so.
Result<> load_kernel(const KernelImage& kernel, const std::string& command_line, std::string& note);
Result<> unload_kernel();

// Of what `kexec -s` printed: the system call itself was refused, so that the older one is worth a try.
bool file_load_refused(std::string_view output);

// The bracketed word of /sys/kernel/security/lockdown: "none", "integrity" or "confidentiality".
std::string parse_lockdown(std::string_view text);

}  // namespace ks::upgrade
